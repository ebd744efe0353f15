// The inventory file that cloud-init or configuration management puts on a host. It is read again when it changes, by the
// reader every command uses; looking whether it has changed costs a stat.

import Foundations
import Glibc
import Inventory
import PKI

struct HostInventory: Sendable {
    struct Content: Sendable {
        var inventory: Inventory
        /// As written; hosts may have different texts that mean the same.
        var text: String

        var digest: String { inventory.digest.hex }
        var generation: Int64 { inventory.generation }

        /// Means the same and is the same generation. False for what is no inventory.
        func isSame(as other: String) -> Bool {
            if other == text { return true }
            guard let read = try? InventoryFile.parse(Array(other.utf8), "inventory").inventory else { return false }
            return read.digest == inventory.digest && read.generation == generation
        }
    }

    enum State: Sendable {
        case none
        /// One line a problem: file, line, column.
        case broken([String])
        case good(Content)
    }

    static let usualPath = "/etc/covey/inventory.yaml"

    let path: String
    private(set) var state = State.none
    private var stamp: [Int] = []

    init(path: String) { self.path = path }

    var content: Content? { if case .good(let content) = state { content } else { nil } }

    /// True when the file is another one than before.
    mutating func look() -> Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else {
            let wasThere = !stamp.isEmpty
            stamp = []
            state = .none
            return wasThere
        }
        let seen = [
            Int(status.st_dev), Int(status.st_ino), Int(status.st_size), Int(status.st_mode),
            status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
        ]
        guard seen != stamp else { return false }
        // Taken before it is read: a change in between is seen the next time.
        stamp = seen
        // Whoever can write it decides what runs here.
        if status.st_uid != 0 && status.st_uid != geteuid() {
            state = .broken(["\(path): error: it is neither root's nor the agent's; run: chown root \(path)"])
        } else {
            state = Self.read(path)
        }
        return true
    }

    private static func read(_ path: String) -> State {
        let file: KeyFile.Contents
        do throws(PKIError) { file = try KeyFile.read(path) } catch { return .broken(["\(path): error: \(error)"]) }
        guard file.mode & 0o022 == 0 else {
            return .broken(["\(path): error: others than its owner may write it; run: chmod go-w \(path)"])
        }
        do throws(InventoryFile.Failure) {
            let read = try InventoryFile.parse(file.bytes, path)
            return .good(Content(inventory: read.inventory, text: String(decoding: file.bytes, as: UTF8.self)))
        } catch { return .broken(error.lines) }
    }
}
