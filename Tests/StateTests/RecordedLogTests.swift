// The committed logs of real members, applied here: our store must then hold what theirs held, byte for byte.

import Foundations
import MVCC
import Testing
import Wire

@testable import State

@Suite struct RecordedLogTests {
    private struct Entry {
        var index: LogIndex
        var term: Term
        var isMembershipChange: Bool
        var data: Bytes
    }

    private func log(_ version: String) throws -> [Entry] {
        try Recorded.lines("log-\(version).txt").map { line in
            Entry(
                index: try #require(LogIndex(line[0])), term: try #require(Term(line[1])),
                isMembershipChange: line[2] == "1", data: try Recorded.hex(line[3]))
        }
    }

    private func apply(_ entries: ArraySlice<Entry>, to world: TestWorld) throws {
        for entry in entries where entry.index > world.state.appliedIndex {
            if entry.isMembershipChange {
                let applied = world.state.applyMembershipChange(
                    index: entry.index, term: entry.term, data: entry.data.rawSpan)
                #expect(applied.failure == nil && applied.halt == nil)
                #expect(applied.node == MemberID(13_195_394_291_058_371_180))
                world.state.recordConfState(voters: world.state.membership.voters.map(\.id), learners: [])
            } else {
                var output: Bytes = []
                let applied = world.state.apply(
                    index: entry.index, term: entry.term, data: entry.data.rawSpan, isAwaited: false, output: &output)
                #expect(applied.outcome == .silent)
                #expect(output.isEmpty)
                if case .halt(let reason) = applied.effect { Issue.record("entry \(entry.index): \(reason)") }
                while !world.state.kv.compactionStep(budget: 1) {}
            }
        }
    }

    private func check(_ world: TestWorld, _ version: String) throws {
        var expected: [String] = []
        for line in try Recorded.lines("store-\(version).txt") {
            if line[0] == "hash" {
                let revision = try #require(Int64(line[1]))
                // At the compacted revision itself newer releases answer, and so do we.
                if revision == 6 { continue }
                let hash = try? world.state.kv.hash(revision).hash
                #expect(hash.map(String.init) ?? "refused" == line[2], "hash at \(revision)")
            } else {
                expected.append("\(line[0]) \(line[1]) \(line[2] == "-" ? "" : line[2])")
            }
        }
        world.submit()
        var found = TestWorld.dump(world.store.view())
        // Releases of then deleted the tombstone at the compacted revision; it is in no hash.
        found.removeAll { $0 == "key 00000000000000065f000000000000000074 0a0162" }
        if version == "3.4.23" {
            // It recorded neither the term nor the configuration, and hashed the password with a salt of its own.
            let absent = ["meta 7465726d", "meta 636f6e665374617465", "authUsers"]
            found.removeAll { row in absent.contains { row.hasPrefix($0) } }
            expected.removeAll { row in absent.contains { row.hasPrefix($0) } }
        } else {
            // 3.5.1 does not write published attributes into its database, a defect later mended.
            let mended = expected.firstIndex { $0.hasPrefix("members ") }
            let at = try #require(mended)
            let member = Member(
                id: MemberID(13_195_394_291_058_371_180), peerURLs: ["http://127.0.0.1:2380"], name: "v1",
                clientURLs: ["http://127.0.0.1:2379"])
            expected[at] = "members \(Hexadecimal.encode(bytes("b71f75320dc06a6c"))) \(Hexadecimal.encode(member.json))"
        }
        #expect(found == expected)
    }

    @Test(arguments: ["3.4.23", "3.5.1"])
    func `a real member's log makes a real member's store`(version: String) throws {
        let world = try TestWorld()
        try apply(try log(version)[...], to: world)
        try check(world, version)
    }

    @Test(arguments: ["3.4.23", "3.5.1"])
    func `a restart anywhere changes nothing`(version: String) throws {
        let entries = try log(version)
        for cut in entries.indices {
            var world = try TestWorld()
            try apply(entries[...cut], to: world)
            world = try world.restarted()
            #expect(world.state.appliedIndex == entries[cut].index)
            #expect(world.state.appliedTerm == entries[cut].term)
            try apply(entries[...], to: world)
            try check(world, version)
        }
    }
}
