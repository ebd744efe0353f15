// `covey render`: the files of every host, printed or written below a folder, a folder a host; or the units all share.

import Inventory
import PKI
import Rendering
import Telemetry

struct RenderCommand {
    let file: InventoryFile
    /// Empty: print.
    let folder: String
    /// A token makes the configuration of a new cluster; empty is that of members that are there.
    let newToken: String

    func run() -> Int32 {
        let inventory = file.inventory
        var identity = MemberIdentity.existing(inventory)
        if !newToken.isEmpty {
            identity.state = .new
            identity.token = newToken
        }
        for host in inventory.voters {
            for rendered in HostFiles.all(inventory, host, identity) {
                guard Self.put(rendered, under: folder.isEmpty ? "" : "\(folder)/\(host.name)", label: "\(host.name): ")
                else { return 1 }
            }
        }
        return 0
    }

    /// Units, users and folders that do not depend on a cluster.
    static func shared(folder: String) -> Int32 {
        let catalog = RenderedFile(path: "catalog/covey.catalog", text: JournalMessage.catalog)
        for rendered in UnitFiles.all + [catalog] {
            let file = RenderedFile(path: "/" + rendered.path, text: rendered.text)
            guard put(file, under: folder, label: "") else { return 1 }
        }
        return 0
    }

    private static func put(_ rendered: RenderedFile, under folder: String, label: String) -> Bool {
        if folder.isEmpty {
            Output.data("# \(label)\(rendered.path)\n\(rendered.text)\n")
            return true
        }
        let path = folder + rendered.path
        do throws(PKIError) {
            if let slash = path.lastIndex(of: "/") { try KeyFile.makeFolder(String(path[..<slash]), mode: 0o755) }
            try KeyFile.write(Array(rendered.text.utf8), to: path, mode: 0o644)
            return true
        } catch {
            Output.error("covey render: \(error)\n")
            return false
        }
    }
}
