// When a certificate is renewed, and what people are told before that. Values only: the time is given.
//
//     notBefore ------------------ due ---- begins -------- ending ---- notAfter
//                fresh              (each host a little later)   \ the last tenth

import Flags
import Inventory

struct RenewalRules: Sendable, Equatable {
    enum Age: Sendable, Equatable { case fresh, due, ending, expired }

    /// Seconds, of a certificate as the inventory has it.
    var lifetime: Int64
    /// Part of its life after which it is renewed.
    var renewAt: Double
    /// The host's place among all of the inventory, from 0.
    var place: Int
    var count: Int

    init(lifetime: Int64, renewAt: Double, place: Int, count: Int) {
        self.lifetime = lifetime
        self.renewAt = renewAt
        self.place = place
        self.count = count
    }

    init(_ inventory: Inventory, _ host: String) {
        lifetime = inventory.leafLifetime / GoDuration.second
        renewAt = inventory.renewAt
        place = inventory.hosts.firstIndex { $0.name == host } ?? 0
        count = max(1, inventory.hosts.count)
    }

    /// Seconds since 1970. Counted from the end, because the beginning is set back for clocks that differ. A certificate that
    /// lives longer than the inventory wants is due when one of the wanted life would be: it was made before the change.
    func due(_ notBefore: Int64, _ notAfter: Int64) -> Int64 {
        notAfter - Int64((Double(life(notBefore, notAfter)) * (1 - renewAt)).rounded())
    }

    /// When this host begins: hosts have a slot each in a twentieth of the life, and a moment in it by the serial.
    func begins(_ notBefore: Int64, _ notAfter: Int64, serial: [UInt8]) -> Int64 {
        let life = Double(life(notBefore, notAfter))
        let spread = min(life * 0.05, life * (1 - renewAt) / 4)
        let jitter = Double(serial.last ?? 0) / 256
        return due(notBefore, notAfter) + Int64(spread * (Double(place) + jitter) / Double(count))
    }

    func age(_ notBefore: Int64, _ notAfter: Int64, now: Int64) -> Age {
        if now >= notAfter { return .expired }
        if now >= notAfter - life(notBefore, notAfter) / 10 { return .ending }
        return now >= due(notBefore, notAfter) ? .due : .fresh
    }

    /// While an operator's operation is under way or the cluster is paused renewal waits, but not into the last tenth.
    func mayBegin(_ age: Age, isBusy: Bool) -> Bool { !isBusy || age == .ending || age == .expired }

    private func life(_ notBefore: Int64, _ notAfter: Int64) -> Int64 { min(lifetime, notAfter - notBefore) }
}

/// Who may renew now, as the agent that issues sees it: one host at a time, and none in the minute of another.
struct RenewalTurns: Sendable {
    static let turnSeconds: Int64 = 60

    private var host = ""
    private var until: Int64 = 0

    /// Nil when it is the host's turn, which begins now; otherwise whose turn it is.
    mutating func begin(_ asking: String, now: Int64) -> String? {
        if now < until && host != asking && until - now <= Self.turnSeconds { return host }
        host = asking
        until = now + Self.turnSeconds
        return nil
    }
}

/// Folders of certificates: `tls-TIME-SERIAL`, one of them in use.
enum TLSGenerations {
    static let keptSeconds: Int64 = 86_400

    static func name(made: Int64, _ serial: String) -> String { "tls-\(made)-\(serial.prefix(8))" }

    static func made(_ name: String) -> Int64? {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0] == "tls" ? Int64(parts[1]) : nil
    }

    /// Those out of use for longer than a day: since the next one was made, or since they were given up themselves.
    static func old(_ names: [String], current: String, now: Int64) -> [String] {
        let known = names.compactMap { name in made(name).map { (name: name, made: $0) } }.sorted { $0.made < $1.made }
        return known.filter { one in
            let end = known.first { $0.made > one.made }?.made ?? one.made
            return one.name != current && now - end > keptSeconds
        }.map(\.name)
    }
}

/// What people are told of the certificates of a host.
struct CertificateNews: Sendable, Equatable {
    enum Level: Int, Sendable, Comparable {
        case good, warn, fail
        static func < (a: Level, b: Level) -> Bool { a.rawValue < b.rawValue }
    }

    var level = Level.good
    var text = ""

    init() {}

    /// `failure`: why the last attempt of the agent to renew failed; nil when there was none, or it succeeded.
    init(
        _ ages: [(name: String, age: RenewalRules.Age, left: Int64)], renewsItself: Bool, failure: String?,
        _ host: String, given: [String: String] = [:]
    ) {
        guard let worst = ages.min(by: { $0.left < $1.left }) else { return }
        let remedy =
            given[worst.name].map { GivenLeaf.remedy(worst.name, $0, host) }
            ?? "run: covey certs \(worst.age == .expired ? "repair" : "renew") \(host)"
        switch worst.age {
        case .fresh: return
        case .due:
            // One that renews itself is about to.
            if renewsItself && failure == nil { return }
            level = .warn
        case .ending, .expired: level = .fail
        }
        let left = worst.left > 0 ? "good for \(Self.span(worst.left)) more" : "expired"
        text = "certificate \(worst.name) \(left)" + (failure.map { ", renewal failed (\($0))" } ?? "") + ", \(remedy)"
    }

    /// `21d`, `5h`, `3m`, as short as a status line wants it.
    static func span(_ seconds: Int64) -> String {
        if seconds >= 2 * 86_400 { return "\(seconds / 86_400)d" }
        return seconds >= 2 * 3_600 ? "\(seconds / 3_600)h" : "\(max(0, seconds) / 60)m"
    }
}
