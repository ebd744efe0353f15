// Asks a member every four seconds for its time: how long the way is, and how far the clocks are apart. Only for metrics
// and warnings.

import Connections
import Foundations
import HTTP1
import Linux

final class Prober: HTTP1ResponseHandler {
    static let interval: UInt64 = 4_000_000_000
    static let driftMax: Int64 = 1_000_000_000
    private static let warningInterval: UInt64 = 30_000_000_000

    private unowned let peer: Peer
    private var call: HTTP1ClientCall?
    private var timer: TimerID?
    private var sentAt: UInt64 = 0
    private var text: Bytes = []
    private var warnedAt: UInt64 = 0
    private(set) var roundTrip: UInt64?
    /// How far the member's clock is ahead of ours.
    private(set) var clockAhead: Int64?

    init(_ peer: Peer) {
        self.peer = peer
        schedule()
    }

    private func schedule() {
        timer = peer.transport.loop.schedule(after: Prober.interval) { [weak self] in self?.probe() }
    }

    private func probe() {
        schedule()
        guard call == nil, let origin = peer.urls.current else { return }
        var request = HTTP1ClientRequest("GET", "/raft/probing")
        request.timeout = Prober.interval
        text = []
        sentAt = Clock.monotonic()
        call = peer.transport.client.send(request, to: origin, self)
    }

    func stop() {
        call?.cancel()
        if let timer { peer.transport.loop.cancel(timer) }
    }

    func head(_ head: HTTPResponseHead) {}
    func body(_ bytes: RawSpan) { if text.count < 4096 { text.append(bytes) } }

    func ended() {
        call = nil
        let trip = Clock.monotonic() - sentAt
        roundTrip = trip
        peer.counters?.roundTrip.observe(nanoseconds: trip)
        guard let theirs = ProbeText.time(String(decoding: text, as: UTF8.self)) else { return }
        let ahead = theirs - Int64(Clock.wall()) + Int64(trip / 2)
        clockAhead = ahead
        let now = peer.transport.loop.now
        if abs(ahead) > Prober.driftMax, warnedAt == 0 || now > warnedAt + Prober.warningInterval {
            warnedAt = now
            peer.transport.note("prober found high clock drift: \(ahead / 1_000_000) ms", peer.id)
        }
    }

    func failed(_ error: HTTPClientError) { call = nil }
}

/// `{"OK":true,"Now":"2026-11-21T02:22:29.679231598Z"}` and a newline.
package enum ProbeText {
    package static func answer(_ wall: UInt64) -> Bytes {
        Bytes("{\"OK\":true,\"Now\":\"\(UTCTime.text(wall))\"}\n".utf8)
    }

    /// Nanoseconds since 1970.
    package static func time(_ answer: String) -> Int64? {
        let mark = "\"Now\":\""
        guard let start = answer.indices.first(where: { answer[$0...].hasPrefix(mark) }) else { return nil }
        return UTCTime.parse(answer[start...].dropFirst(mark.count).prefix { $0 != "\"" })
    }
}

/// RFC 3339 with as many digits of the second's fraction as there are, as Go writes it.
package enum UTCTime {
    package static func text(_ nanoseconds: UInt64) -> String {
        let seconds = nanoseconds / 1_000_000_000
        let (year, month, day) = civil(Int(seconds / 86400))
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        var fraction = String(nanoseconds % 1_000_000_000)
        fraction = String(repeating: "0", count: 9 - fraction.count) + fraction
        while fraction.hasSuffix("0") { fraction.removeLast() }
        let date = "\(year)-\(two(UInt64(month)))-\(two(UInt64(day)))"
        let clock = "\(two(seconds % 86400 / 3600)):\(two(seconds % 3600 / 60)):\(two(seconds % 60))"
        return "\(date)T\(clock)\(fraction.isEmpty ? "" : ".")\(fraction)Z"
    }

    /// Also with an offset, as members with a local zone write it.
    package static func parse(_ text: Substring) -> Int64? {
        let parts = text.split(separator: "T")
        guard parts.count == 2 else { return nil }
        let date = parts[0].split(separator: "-").compactMap { Int($0) }
        let clockText = parts[1].prefix { $0 != "Z" && $0 != "+" && $0 != "-" && $0 != "." }
        let clock = clockText.split(separator: ":").compactMap { Int($0) }
        guard date.count == 3, clock.count == 3, (1970...9999).contains(date[0]), (1...12).contains(date[1]) else { return nil }
        var rest = parts[1].dropFirst(clockText.count)
        var nanoseconds: Int64 = 0
        if rest.first == "." {
            let digits = rest.dropFirst().prefix { $0.isNumber }
            nanoseconds = Int64((digits + "000000000").prefix(9)) ?? 0
            rest = rest.dropFirst(1 + digits.count)
        }
        var offset = 0
        if let sign = rest.first, sign != "Z" {
            let zone = rest.dropFirst().split(separator: ":").compactMap { Int($0) }
            guard zone.count == 2 else { return nil }
            offset = (zone[0] * 3600 + zone[1] * 60) * (sign == "-" ? -1 : 1)
        }
        let seconds = days(date[0], date[1], date[2]) * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2] - offset
        return Int64(seconds) * 1_000_000_000 + nanoseconds
    }

    /// Days since 1970 to a date, counting years from March so that the leap day is the last.
    private static func civil(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
    }

    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let year = month <= 2 ? year - 1 : year
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}
