// The files of one host: the server's configuration and what the shared units need to know of this cluster.

import Inventory

package struct RenderedFile: Sendable, Equatable {
    package var path: String
    package var text: String
    package init(path: String, text: String) {
        self.path = path
        self.text = text
    }
}

package enum HostFiles {
    package static func all(_ inventory: Inventory, _ host: Inventory.Host) -> [RenderedFile] { [] }
}
