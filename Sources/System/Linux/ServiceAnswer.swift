// What DNS says of services, as far as it is needed: pure, for any bytes that a name server may send.

/// The records of a DNS answer, RFC 1035 and 2782.
package enum ServiceAnswer {
    package struct Record: Equatable, Sendable {
        package var priority: Int
        package var weight: Int
        package var host: String
        package var port: Int

        package init(priority: Int, weight: Int, host: String, port: Int) {
            self.priority = priority
            self.weight = weight
            self.host = host
            self.port = port
        }
    }

    /// By priority, then by weight, heaviest first. An answer that is cut short or malformed counts as far as it makes sense.
    package static func records(_ answer: [UInt8]) -> [Record] {
        guard answer.count >= 12 else { return [] }
        var at = 12
        for _ in 0..<number(answer, 4) {
            guard let end = name(answer, at)?.end else { return [] }
            at = end + 4
        }
        var records: [Record] = []
        for _ in 0..<number(answer, 6) {
            guard let end = name(answer, at)?.end, end + 10 <= answer.count else { break }
            let type = number(answer, end)
            let data = end + 10
            at = data + number(answer, end + 8)
            guard at <= answer.count else { break }
            guard type == 33, data + 6 < at, let host = name(answer, data + 6)?.text else { continue }
            records.append(
                Record(
                    priority: number(answer, data), weight: number(answer, data + 2), host: host,
                    port: number(answer, data + 4)))
        }
        return records.sorted { ($0.priority, -$0.weight) < ($1.priority, -$1.weight) }
    }

    private static func number(_ bytes: [UInt8], _ at: Int) -> Int { Int(bytes[at]) << 8 | Int(bytes[at + 1]) }

    /// A name without its last dot, and where what follows it begins. Pointers may only point backwards.
    private static func name(_ bytes: [UInt8], _ start: Int) -> (text: String, end: Int)? {
        var labels: [String] = []
        var at = start
        var end: Int?
        while at < bytes.count {
            let length = Int(bytes[at])
            if length == 0 { return (labels.joined(separator: "."), end ?? at + 1) }
            if length >= 0xc0 {
                guard at + 1 < bytes.count else { return nil }
                let target = (length & 0x3f) << 8 | Int(bytes[at + 1])
                guard target < at else { return nil }
                end = end ?? at + 2
                at = target
                continue
            }
            guard length < 64, at + 1 + length <= bytes.count, labels.count < 128 else { return nil }
            labels.append(String(decoding: bytes[at + 1..<at + 1 + length], as: UTF8.self))
            at += 1 + length
        }
        return nil
    }
}
