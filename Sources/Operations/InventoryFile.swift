// From a path to a checked inventory, or to the lines that say what is wrong with it.

import Foundations
import Inventory
import Linux
import PKI
import YAML

struct InventoryFile {
    var path: String
    var inventory: Inventory
    var warnings: [Problem]

    /// What could not be read, one line a problem.
    struct Failure: Error, Equatable, CustomStringConvertible {
        var lines: [String]
        var description: String { lines.joined(separator: "\n") }
    }

    static func read(_ path: String) throws(Failure) -> InventoryFile {
        let bytes: [UInt8]
        do throws(PKIError) { bytes = try KeyFile.read(path).bytes } catch {
            throw Failure(lines: ["\(path): \(reason(error))"])
        }
        return try parse(bytes, path)
    }

    static func parse(_ bytes: [UInt8], _ path: String) throws(Failure) -> InventoryFile {
        let root: YAMLNode?
        do throws(YAMLError) { root = try YAMLNode.parse(bytes) } catch {
            throw Failure(lines: ["\(path):\(error.line):1: error: \(error.problem)"])
        }
        let reading = Inventory.read(root.map(plain))
        guard let inventory = reading.inventory else {
            throw Failure(lines: reading.problems.map { $0.line(file: path) })
        }
        return InventoryFile(path: path, inventory: inventory, warnings: reading.warnings)
    }

    /// The core knows no YAML.
    private static func plain(_ node: YAMLNode) -> SourceNode {
        let place = Place(line: node.line, column: node.column)
        switch node.content {
        case .scalar(let text, let isPlain): return SourceNode(.scalar(text, plain: isPlain), at: place)
        case .sequence(let items): return SourceNode(.sequence(items.map(plain)), at: place)
        case .mapping(let entries):
            return SourceNode(.mapping(entries.map { SourceNode.Entry(plain($0.key), plain($0.value)) }), at: place)
        }
    }

    private static func reason(_ error: PKIError) -> String {
        if case .file(let system) = error { system.reason } else { "\(error)" }
    }
}
