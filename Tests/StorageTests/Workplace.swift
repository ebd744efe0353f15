// A folder of a test's own, gone when the test is.

import Foundations
import Glibc
import MVCC
import TestSupport

final class Workplace {
    let path: String

    init() {
        path = temporaryFolder("storage")
    }

    deinit { remove(path) }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    private func remove(_ path: String) {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != "." && name != ".." { remove(path + "/" + name) }
            }
            closedir(folder)
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

extension StoreView {
    func value(_ table: StoreTable, _ key: [UInt8]) -> [UInt8]? {
        var found: [UInt8]?
        get(table, key.rawSpan) { value in
            if let value { found = Bytes(value) }
        }
        return found
    }

    func pairs(_ table: StoreTable, from: [UInt8] = [], to: [UInt8]? = nil, limit: Int = .max) -> [[UInt8]: [UInt8]] {
        var pairs: [[UInt8]: [UInt8]] = [:]
        scan(table, from: from, to: to) { key, value in
            pairs[Bytes(key)] = Bytes(value)
            return pairs.count < limit
        }
        return pairs
    }

    func keys(_ table: StoreTable, from: [UInt8] = [], to: [UInt8]? = nil) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        scan(table, from: from, to: to) { key, _ in
            keys.append(Bytes(key))
            return true
        }
        return keys
    }
}
