// When certificates are renewed, whose turn it is, what is kept, and what people are told: decisions without a clock.

import Testing

@testable import Operations

@Suite struct RenewalRulesTests {
    private static let day: Int64 = 86_400
    private let rules = RenewalRules(lifetime: 30 * day, renewAt: 2.0 / 3, place: 0, count: 3)

    @Test func `a certificate is due at two thirds of its life, and each host begins in a slot of its own`() {
        let end = 100 * Self.day
        let begin = end - 30 * Self.day - 300
        #expect(rules.due(begin, end) == end - 10 * Self.day, "the five minutes before it was made do not count")
        var last = rules.due(begin, end) - 1
        for place in 0..<3 {
            var other = rules
            other.place = place
            for serial: UInt8 in [0, 255] {
                let begins = other.begins(begin, end, serial: [1, serial])
                #expect(begins > last, "host \(place) serial \(serial)")
                last = begins
            }
        }
        #expect(last < rules.due(begin, end) + 2 * Self.day, "all have begun long before the end")
    }

    @Test func `its age, by days`() {
        let table: [(days: Int64, age: RenewalRules.Age)] = [
            (-1, .fresh), (19, .fresh), (20, .due), (26, .due), (27, .ending), (29, .ending), (30, .expired), (99, .expired),
        ]
        for (days, age) in table { #expect(rules.age(0, 30 * Self.day, now: days * Self.day) == age, "\(days)") }
    }

    @Test func `one that lives longer than the inventory wants is due when one of the wanted life would be`() {
        #expect(rules.due(0, 365 * Self.day) == 355 * Self.day)
        #expect(rules.due(0, Self.day) == 16 * 3600, "and a short one by its own life")
    }

    @Test func `an operation under way puts it off, but not into the last tenth`() {
        #expect(rules.mayBegin(.due, isBusy: false))
        #expect(!rules.mayBegin(.due, isBusy: true))
        #expect(rules.mayBegin(.ending, isBusy: true) && rules.mayBegin(.expired, isBusy: true))
    }

    @Test func `one host at a time, and none in the minute of another`() {
        var turns = RenewalTurns()
        #expect(turns.begin("kv1", now: 1000) == nil)
        #expect(turns.begin("kv2", now: 1059) == "kv1")
        #expect(turns.begin("kv1", now: 1030) == nil, "it may ask again, and its minute begins anew")
        #expect(turns.begin("kv2", now: 1089) == "kv1")
        #expect(turns.begin("kv2", now: 1090) == nil)
        #expect(turns.begin("kv3", now: 500) == nil, "a clock that was set back holds nobody up for long")
    }

    @Test func `generations are kept for a day after the next one was made`() {
        let names = ["server.yaml", "tls", "tls-100-aa", "tls-200-bb", "tls-200000-cc", "tls-next", "tls-250000-dd"]
        #expect(TLSGenerations.old(names, current: "tls-200000-cc", now: 200_100) == ["tls-100-aa"])
        #expect(TLSGenerations.old(names, current: "tls-200000-cc", now: 200_000 + 86_401) == ["tls-100-aa", "tls-200-bb"])
        #expect(
            TLSGenerations.old(names, current: "tls-200000-cc", now: 250_000 + 86_401)
                == ["tls-100-aa", "tls-200-bb", "tls-250000-dd"], "one that was given up goes too; the one in use never")
    }

    @Test func `people are told from the day it is due, unless it renews itself`() {
        func news(_ days: Int64, itself: Bool, _ failure: String? = nil) -> CertificateNews {
            let left = (30 - days) * Self.day
            let age = rules.age(0, 30 * Self.day, now: days * Self.day)
            return CertificateNews(
                [("server", .fresh, 25 * Self.day), ("peer", age, left)], renewsItself: itself, failure: failure, "kv1")
        }
        #expect(news(6, itself: false).level == .good)
        #expect(news(21, itself: false).level == .warn)
        #expect(news(21, itself: false).text == "certificate peer good for 9d more, run: covey certs renew kv1")
        #expect(news(21, itself: true).level == .good)
        #expect(news(21, itself: true, "kv2 does not answer").text.contains("renewal failed (kv2 does not answer)"))
        #expect(news(28, itself: true).level == .fail)
        #expect(news(31, itself: false).text == "certificate peer expired, run: covey certs repair kv1")
    }

    @Test func `times as people read them`() {
        let table: [(seconds: Int64, text: String)] = [
            (0, "Jan 01, 1970 00:00 UTC"), (951_782_400, "Feb 29, 2000 00:00 UTC"), (1_798_761_599, "Dec 31, 2026 23:59 UTC"),
            (4_102_444_800, "Jan 01, 2100 00:00 UTC"),
        ]
        for (seconds, text) in table { #expect(UTCTime.text(seconds) == text) }
    }
}
