// `covey render`: the files of every host, printed or written below a folder, a folder a host.

import Inventory
import PKI
import Rendering

struct RenderCommand {
    let file: InventoryFile
    let folder: String

    init(_ file: InventoryFile, folder: String) {
        self.file = file
        self.folder = folder
    }

    func run() -> Int32 {
        for host in file.inventory.voters {
            for rendered in HostFiles.all(file.inventory, host) {
                if folder.isEmpty {
                    Output.data("# \(host.name): \(rendered.path)\n\(rendered.text)\n")
                    continue
                }
                let path = "\(folder)/\(host.name)\(rendered.path)"
                do throws(PKIError) {
                    if let slash = path.lastIndex(of: "/") { try KeyFile.makeFolder(String(path[..<slash]), mode: 0o755) }
                    try KeyFile.write(Array(rendered.text.utf8), to: path, mode: 0o644)
                } catch {
                    Output.error("covey render: \(error)\n")
                    return 1
                }
            }
        }
        return 0
    }
}
