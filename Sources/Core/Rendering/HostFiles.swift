// The files of one host for one cluster: the server's configuration, and what the shared units need to know of this
// cluster. Secrets are not rendered; certificates and keys are put beside by who issues them.

import Inventory

package struct RenderedFile: Sendable, Equatable {
    /// From the root of the host.
    package var path: String
    package var text: String

    package init(path: String, text: String) {
        self.path = path
        self.text = text
    }
}

package enum HostFiles {
    package static func configurationFolder(_ cluster: String) -> String { "/etc/covey/\(cluster)" }

    package static func folders(_ inventory: Inventory, admission: String? = nil) -> MemberFolders {
        MemberFolders(
            data: inventory.dataDirectory, wal: inventory.walDirectory,
            tls: configurationFolder(inventory.name) + "/tls", admission: admission)
    }

    /// `program`: a link to what is started, on hosts with version slots. `admission`: who may come while the cluster is being made.
    package static func all(
        _ inventory: Inventory, _ host: Inventory.Host, _ identity: MemberIdentity, program: String? = nil, admission: String? = nil
    ) -> [RenderedFile] {
        let settings = ServerSettings(inventory, host, identity, folders(inventory, admission: admission))
        var files = [
            RenderedFile(
                path: configurationFolder(inventory.name) + "/server.yaml",
                text: note(inventory) + settings.configurationFile),
            dropIn(inventory, program: program),
        ]
        if !ownFolders(inventory).isEmpty {
            let lines = ownFolders(inventory).map { "d \($0) 0700 covey covey -\n" }.joined()
            files.append(
                RenderedFile(path: "/etc/tmpfiles.d/covey-\(inventory.name).conf", text: note(inventory) + lines))
        }
        return files
    }

    private static func places(_ inventory: Inventory) -> [String] {
        [inventory.dataDirectory] + (inventory.walDirectory.map { [$0] } ?? [])
    }

    /// The default folder is the unit's StateDirectory; others must be made and opened.
    private static func ownFolders(_ inventory: Inventory) -> [String] {
        places(inventory).filter { $0 != "/var/lib/covey/\(inventory.name)" }
    }

    private static func note(_ inventory: Inventory) -> String {
        "# Rendered from the inventory of cluster \(inventory.name), digest \(inventory.digest.short). Changes here are lost.\n"
    }

    package static func dropIn(_ inventory: Inventory, program: String?) -> RenderedFile {
        RenderedFile(
            path: "/etc/systemd/system/covey-server@\(inventory.name).service.d/50-inventory.conf",
            text: note(inventory) + dropInText(inventory, program: program))
    }

    private static func dropInText(_ inventory: Inventory, program: String?) -> String {
        var out = "[Unit]\n"
        let places = places(inventory)
        // Without its disk the member would begin with an empty folder on another.
        out += "RequiresMountsFor=\(places.joined(separator: " "))\n"
        out += "\n[Service]\n"
        let others = ownFolders(inventory)
        if !others.isEmpty { out += "ReadWritePaths=\(others.joined(separator: " "))\n" }
        out += "MemoryMin=\(inventory.memoryMinBytes)\n"
        if let upstream = inventory.engine.program {
            // The unit's own command goes first; etcd says when it is ready, and tells the watchdog nothing.
            out += "ExecStart=\nExecStart=\(program ?? upstream) --config-file=/etc/covey/%i/server.yaml\nWatchdogSec=0\n"
        } else if let program {
            out += "ExecStart=\nExecStart=\(program) server --config-file=/etc/covey/%i/server.yaml\n"
        }
        if let most = inventory.memoryMaxBytes { out += "MemoryMax=\(most)\n" }
        return out + "LimitNOFILE=\(inventory.openFilesMax)\n"
    }
}
