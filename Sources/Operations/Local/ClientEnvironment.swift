// How to talk to the cluster: variables etcdctl reads, as a file to source and as text to paste.

import Inventory

struct ClientEnvironment {
    let inventory: Inventory
    let folder: StateFolder

    init(_ inventory: Inventory, _ folder: StateFolder) {
        self.inventory = inventory
        self.folder = folder
    }

    var endpoints: String { inventory.voters.map(\.clientURL).joined(separator: ",") }

    var file: String {
        """
        # etcdctl for cluster \(inventory.name); in a shell: . \(quoted(folder.environment))
        export ETCDCTL_API=3
        export ETCDCTL_ENDPOINTS=\(quoted(endpoints))
        export ETCDCTL_CACERT=\(quoted(folder.client + "/ca.crt"))
        export ETCDCTL_CERT=\(quoted(folder.client + "/client.crt"))
        export ETCDCTL_KEY=\(quoted(folder.client + "/client.key"))

        """
    }

    func instructions(_ statusCommand: String) -> String {
        """

          endpoints  \(endpoints)
          metrics    \(inventory.voters.map { "http://127.0.0.1:\($0.metricsPort)/metrics" }.joined(separator: " "))
          state      \(folder.root)

          In another shell:
            . \(quoted(folder.environment))
            etcdctl put greeting hello && etcdctl get greeting
            \(statusCommand)

          Ctrl-C stops it; the same command starts it again with its data.


        """
    }

    /// For a POSIX shell.
    private func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x3a, 0x41...0x5a, 0x61...0x7a, 0x2c, 0x2d, 0x2e, 0x2f, 0x5f: true
            default: false
            }
        }
        return isPlain
            ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
