// A child that recovers, checks, writes and acknowledges is killed again and again: at failpoints, by SIGKILL at any
// moment, and stopped by a disk that fails. COVEY_CRASHES sets how often, COVEY_SEED what is drawn; both are printed.

import Foundations
import Glibc
import TestSupport
import Testing

@Suite(.serialized) struct CrashTests {
    static let places = [
        "log.write", "log.written", "log.sync", "log.synced", "log.cut", "log.cut.rename", "log.cut.renamed",
        "log.spare",
        "snap.save", "snap.rename", "store.commit", "store.written", "store.committed", "store.grow", "store.give-back",
    ]

    static func setting(_ name: String, _ otherwise: UInt64) -> UInt64 {
        RealTools.environment(name).flatMap(UInt64.init) ?? otherwise
    }

    @Test func `killed anywhere, nothing acknowledged is lost and nothing is applied twice`() throws {
        let crashes = Int(CrashTests.setting("COVEY_CRASHES", 120))
        let seed = CrashTests.setting("COVEY_SEED", UInt64(RealTools.seed) ?? 1)
        print("crash test: COVEY_SEED=\(seed) COVEY_CRASHES=\(crashes)")
        var random = SeededRandom(seed: seed)
        var counts: [String: Int] = [:]
        var place = Workplace()
        var acknowledged: UInt64 = 0
        for round in 0..<crashes {
            if round % 100 == 99 {
                // A new directory now and then, so that making one is crashed too.
                place = Workplace()
                acknowledged = 0
            }
            var failpoint = ""
            var kill: Int?
            let target = CrashTests.places.randomElement(using: &random)!
            // The first rounds of a directory meet the places few times.
            let hit = Int.random(in: 1...(random.chance(1, in: 2) ? 4 : 40), using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0...5: failpoint = "\(target)=exit@\(hit)"
            case 6: failpoint = "\(target)=error:\(random.chance(1, in: 2) ? "EIO" : "ENOSPC")@\(hit)"
            case 7: failpoint = "log.write=short:\(Int.random(in: 0...2000, using: &random))@\(hit)"
            default: kill = Int.random(in: 0...100, using: &random)
            }
            let child = Child.run(
                RealTools.built("covey-crash"), [place("data"), "\(random.next())", "\(acknowledged)"],
                environment: ["COVEY_FAILPOINTS": failpoint], killAfter: kill)
            let what = "round \(round) of COVEY_SEED=\(seed): \(failpoint) \(kill ?? 0): \(child.errors)"
            try #require([0, 3, 86, 128 + SIGKILL].contains(child.status), "\(what), status \(child.status)")
            counts["\(child.status)", default: 0] += 1
            let last = child.output.split(separator: "\n").compactMap { UInt64($0) }.max() ?? 0
            acknowledged = max(acknowledged, last)
        }
        print(
            "crash test: ended with \(counts.sorted { $0.key < $1.key }), \(acknowledged) entries in the last directory"
        )
        #expect(counts["86", default: 0] > 0)
        let last = Child.run(RealTools.built("covey-crash"), [place("data"), "1", "\(acknowledged)"])
        #expect(last.status == 0, "\(last.errors)")
    }

    @Test func `a full disk stops acknowledging and says so; with space again the member goes on`() throws {
        let place = Workplace()
        // A limit on the file size is a disk that is full for this process. The signal is ignored by the shell's child.
        let child = Child.run(
            "/bin/bash",
            ["-c", "trap '' XFSZ; ulimit -f 40; exec \(RealTools.built("covey-crash")) \(place("data")) 5 0"])
        #expect(child.status == 3, "\(child.status) \(child.errors)")
        #expect(child.errors.contains("File too large") && child.errors.contains("free space"))
        let acknowledged = child.output.split(separator: "\n").compactMap { UInt64($0) }.max() ?? 0
        let again = Child.run(RealTools.built("covey-crash"), [place("data"), "6", "\(acknowledged)"])
        #expect(again.status == 0, "\(again.errors)")
    }
}
