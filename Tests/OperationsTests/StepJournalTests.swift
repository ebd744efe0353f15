import Glibc
import PKI
import TestSupport
import Testing

@testable import Operations

@Suite struct StepJournalTests {
    private let path: String

    init() {
        path = temporaryFolder("journal") + "/journal"
    }

    private func record(_ step: String, _ phase: StepJournal.Record.Phase) -> StepJournal.Record {
        .init(operation: "op-1", epoch: 3, step: step, phase: phase)
    }

    private func write() throws {
        var journal = try StepJournal(path)
        try journal.append(record("ledger", .intent), at: 1)
        try journal.append(record("ledger", .done), at: 2)
        try journal.append(record("render", .intent), at: 3)
    }

    @Test func `what was begun and not ended is known after a restart`() throws {
        try write()
        let journal = try StepJournal(path)
        #expect(journal.open == ["render"] && journal.damage == nil)
        #expect(StepJournal.tail(path, 10).count == 3)
    }

    @Test func `a torn last line is cut off and the journal goes on, wherever it was torn`() throws {
        try write()
        let whole = try KeyFile.read(path).bytes
        let lines = whole.split(separator: 0x0a)
        let keep = lines[0].count + lines[1].count + 2
        for length in keep..<whole.count {
            try KeyFile.write(Array(whole.prefix(length)), to: path, mode: 0o600)
            var journal = try StepJournal(path)
            #expect(journal.damage == nil && journal.open.isEmpty, "cut at \(length)")
            try journal.append(record("render", .intent), at: 4)
            #expect(try StepJournal(path).open == ["render"], "cut at \(length)")
        }
    }

    @Test func `a changed byte and a missing line are damage`() throws {
        try write()
        let whole = try KeyFile.read(path).bytes
        var changed = whole
        changed[20] ^= 1
        try KeyFile.write(changed, to: path, mode: 0o600)
        #expect(try StepJournal(path).damage != nil)
        let lines = whole.split(separator: 0x0a)
        try KeyFile.write(Array(lines[0]) + [0x0a] + Array(lines[2]) + [0x0a], to: path, mode: 0o600)
        #expect(try StepJournal(path).damage != nil)
    }
}
