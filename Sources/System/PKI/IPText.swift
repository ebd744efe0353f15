// IP addresses between text and the bytes certificates hold.

import Glibc

package enum IPText {
    /// Four or sixteen bytes; nil for what is no address. A zone (`%eth0`) is not part of it.
    package static func parse(_ text: String) -> [UInt8]? {
        let plain = String(text.prefix { $0 != "%" })
        var four = [UInt8](repeating: 0, count: 4)
        if unsafe inet_pton(AF_INET, plain, &four) == 1 { return four }
        var sixteen = [UInt8](repeating: 0, count: 16)
        guard unsafe inet_pton(AF_INET6, plain, &sixteen) == 1 else { return nil }
        // ::ffff:a.b.c.d is the IPv4 address.
        if sixteen[..<10].allSatisfy({ $0 == 0 }), sixteen[10] == 0xff, sixteen[11] == 0xff { return Array(sixteen[12...]) }
        return sixteen
    }

    package static func format(_ bytes: [UInt8]) -> String {
        var text = [CChar](repeating: 0, count: 64)
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard bytes.count == 4 || bytes.count == 16, unsafe inet_ntop(family, bytes, &text, 64) != nil else { return "?" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
