// Questions to DNS other than for addresses. Blocks.

import CLinux
import Glibc

package enum ServiceLookup {
    package static let serviceType: Int32 = 33

    package struct Refusal: Error, Sendable {
        package var reason: String
        package init(reason: String) { self.reason = reason }
    }

    /// The whole answer, as it came.
    package static func query(_ name: String, type: Int32) throws(Refusal) -> [UInt8] {
        var answer = [UInt8](repeating: 0, count: 65536)
        let count = unsafe answer.withUnsafeMutableBytes { unsafe covey_resolve(name, type, $0.baseAddress!, Int32($0.count)) }
        guard count >= 0 else { throw Refusal(reason: "no such host") }
        return Array(answer.prefix(Int(count)))
    }
}
