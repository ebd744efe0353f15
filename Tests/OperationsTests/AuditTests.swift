// The audit log as files: torn, changed, cut, rotated; and as the host's side of a cluster writes it.

import GRPC
import Glibc
import JSON
import PKI
import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct AuditLogTests {
    private let folder = temporaryFolder("audit") + "/log"

    private func log(bytesMax: Int = 1 << 20, filesMax: Int = 8) throws -> AuditLog {
        try AuditLog(folder, host: "kv1", now: 9, bytesMax: bytesMax, filesMax: filesMax)
    }

    private func write(_ steps: [String], _ log: inout AuditLog) throws {
        for step in steps { try log.append([.init("step", .string(step)), .init("result", .string("ok"))], at: 7) }
    }

    private func file(_ segment: UInt64 = 0) -> String { "\(folder)/\(AuditChain.name(segment))" }

    private func check(_ anchor: AuditChain.Anchor? = nil) throws -> AuditChain { try AuditReading.check(folder, anchor) }

    private func steps() throws -> [String] {
        try AuditReading.last(folder, 1000).split(separator: 0x0a).compactMap { AuditChain.read($0)?.json["step"]?.string }
    }

    @Test func `records follow each other over restarts and files, and the oldest file goes with a word about it`() throws {
        var first = try log(bytesMax: 600, filesMax: 3)
        try write(["a", "b", "c"], &first)
        var second = try log(bytesMax: 600, filesMax: 3)
        #expect(second.count == first.count && second.head == first.head)
        try write((0..<20).map { "s\($0)" }, &second)
        let chain = try check()
        #expect(chain.broken == nil && chain.count == second.count && chain.head == second.head)
        let first0 = try #require(chain.first)
        #expect(first0 > 0 && AuditLog.segments(folder).count <= 3)
        #expect(chain.remarks.contains { $0.contains("records 0 to") || $0.contains("are removed") }, "\(chain.remarks)")
        // What is removed by hand says nothing of itself.
        unlink(file(first0))
        #expect(try check().broken?.what.contains("older records are gone") == true)
    }

    @Test func `a torn record is cut off wherever it was torn, and a record says so`() throws {
        var log = try log()
        try write(["a", "b"], &log)
        let keep = try KeyFile.read(file()).bytes.count
        try write(["c"], &log)
        let whole = try KeyFile.read(file()).bytes
        for length in [keep + 1, keep + 64, keep + 65, keep + 66, (keep + whole.count) / 2, whole.count - 1] {
            try KeyFile.write(Array(whole.prefix(length)), to: file(), mode: 0o600)
            #expect(try check().torn == length - keep)
            var again = try self.log()
            #expect(try steps() == ["a", "b", "audit"], "cut at \(length)")
            try write(["d"], &again)
            let chain = try check()
            #expect(chain.broken == nil && chain.torn == 0 && chain.count == 4, "cut at \(length)")
            #expect(chain.remarks.first?.contains("\(length - keep) bytes") == true, "\(chain.remarks)")
        }
        // As a file system may leave it: the length is there, the bytes are not.
        try KeyFile.write(Array(whole.prefix(keep)) + [UInt8](repeating: 0, count: 90), to: file(), mode: 0o600)
        _ = try self.log()
        #expect(try check().broken == nil)
    }

    @Test func `a changed, missing, added or reordered record is named`() throws {
        var log = try log()
        try write(["a", "b", "c", "d"], &log)
        let lines = try KeyFile.read(file()).bytes.split(separator: 0x0a).map { Array($0) + [0x0a] }
        func broken(_ lines: [[UInt8]]) throws -> UInt64? {
            try KeyFile.write(Array(lines.joined()), to: file(), mode: 0o600)
            return try check().broken?.record
        }
        #expect(try broken(lines) == nil)
        var changed = lines
        changed[1][70] ^= 1
        #expect(try broken(changed) == 1)
        #expect(try broken([lines[0], lines[2], lines[3]]) == 1)
        #expect(try broken([lines[0], lines[1], lines[1], lines[2]]) == 2)
        #expect(try broken([lines[0], lines[2], lines[1], lines[3]]) == 1)
        // Whoever changes a record and makes its hash anew is found out by the next one.
        var text = String(decoding: lines[1].dropFirst(65).dropLast(), as: UTF8.self)
        text = text.replacing("\"b\"", with: "\"x\"")
        let forged = Array("\(hexadecimal(SHA256Digest.hash(Array(text.utf8)))) \(text)\n".utf8)
        #expect(try broken([lines[0], forged, lines[2], lines[3]]) == 2)
        // Whoever makes all anew is found out by those who remember.
        try KeyFile.write(Array((lines.prefix(1) + [forged]).joined()), to: file(), mode: 0o600)
        #expect(try check().broken == nil)
        let anchor = AuditChain.Anchor(record: 1, hash: String(decoding: lines[1].prefix(64), as: UTF8.self))
        #expect(try check(anchor).broken?.what.contains("is not what it was") == true)
        try KeyFile.write(lines[0], to: file(), mode: 0o600)
        #expect(try check(anchor).broken?.what.contains("is gone") == true)
    }

    @Test func `a log that does not hold is left as it is, and a new file begins that says so, once`() throws {
        var log = try log()
        try write(["a", "b", "c"], &log)
        var bytes = try KeyFile.read(file()).bytes
        bytes[80] ^= 1
        try KeyFile.write(bytes, to: file(), mode: 0o600)
        var again = try self.log()
        #expect(again.damage?.contains("record 0") == true)
        try write(["d"], &again)
        let third = try self.log()
        #expect(third.damage != nil && third.count == again.count && AuditLog.segments(folder).count == 2)
        #expect(try KeyFile.read(file()).bytes == bytes)
        #expect(try check().broken?.record == 0)
    }

    @Test func `secrets and endless texts do not get in`() throws {
        var log = try log()
        let key = String(decoding: try PrivateKey.generate().pem, as: UTF8.self)
        try log.append([.init("result", .string("cannot read " + key))], at: 1)
        let endless = String(repeating: "x", count: 99_999)
        try log.append([.init("arguments", .array([.string(key)])), .init("result", .string(endless))], at: 1)
        let text = String(decoding: try KeyFile.read(file()).bytes, as: UTF8.self)
        #expect(!text.contains("PRIVATE") && text.utf8.count < 2 * AuditLog.textBytesMax)
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

@Suite struct HostAuditTests {
    private let folder = temporaryFolder("audited")

    private func keeper() -> HostKeeper {
        let host = HostRecord(name: "kv1", address: "10.0.0.1", port: 2378)
        let keeper = HostKeeper(AgentFolders(root: folder), host, RememberingBackend(), time: { 1_700_000_000 })
        keeper.caller = AuditCaller(name: "operator", address: "10.0.0.9:4000")
        return keeper
    }

    private func records() throws -> [JSONValue] {
        try AuditReading.last(folder + "/var/lib/covey-agent/main/audit", 1000).split(separator: 0x0a).compactMap {
            AuditChain.read($0)?.json
        }
    }

    private func told(_ name: String) throws -> [String] { try records().map { $0[name]?.string ?? "-" } }

    private func claim(_ keeper: HostKeeper, _ epoch: UInt64) throws -> Bool {
        let operation = AgentPB.Operation(
            id: "op-\(epoch)", kind: "restart", arguments: ["--override=DISK", "--reason=a new disk is ordered"], owner: "ann@bastion",
            epoch: epoch, plan: "7d2e")
        return try keeper.claim(AgentPB.ClaimRequest(cluster: "main", operation: operation)).isGranted
    }

    private func pause(_ keeper: HostKeeper, _ epoch: UInt64) throws {
        let header = AgentPB.StepHeader(cluster: "main", operation: "op-1", epoch: epoch)
        _ = try keeper.control(AgentPB.ControlRequest(header: header, verbs: [.pause], reason: "maintenance"))
    }

    @Test func `who, from where, what, overrides with reasons, refusals and results are recorded`() throws {
        let keeper = keeper()
        #expect(try claim(keeper, 1))
        try pause(keeper, 1)
        #expect(try !claim(keeper, 2))
        #expect(throws: GRPCStatus.self) { try pause(keeper, 9) }
        #expect(try told("step") == ["claim", "claim", "pause", "pause", "claim", "pause"])
        #expect(try told("phase") == ["intent", "done", "intent", "done", "refused", "refused"])
        let claimed = try records()[1]
        #expect(claimed["who"]?.string == "ann@bastion" && claimed["identity"]?.string == "operator")
        #expect(claimed["from"]?.string == "10.0.0.9:4000" && claimed["plan"]?.string == "7d2e")
        #expect(claimed["overrides"]?.array?.first?.string == "DISK" && claimed["reason"]?.string == "a new disk is ordered")
        #expect(try records()[5]["result"]?.string?.contains("epoch 9 may do nothing") == true)
        #expect(keeper.journalDamage("main").isEmpty)
        var seen = AgentPB.ObserveResponse()
        keeper.describeAudit("main", &seen)
        #expect(seen.auditCount == 6 && seen.auditDamage.isEmpty)
    }

    @Test func `what the journal has and a crash kept from the audit log is copied, once`() throws {
        let first = keeper()
        #expect(try claim(first, 1))
        let path = folder + "/var/lib/covey-agent/main/journal"
        var journal = try StepJournal(path)
        try journal.append(.init(operation: "op-1", epoch: 1, step: "render", phase: .intent), at: 5)
        let second = keeper()
        try pause(second, 1)
        #expect(try told("step") == ["claim", "claim", "render", "pause", "pause"])
        #expect(try records()[2]["late"]?.int64 == 5)
        try pause(keeper(), 1)
        #expect(try told("step").count == 7)
    }

    @Test func `a step is not done when it cannot be recorded`() throws {
        let keeper = keeper()
        #expect(try claim(keeper, 1))
        let audit = folder + "/var/lib/covey-agent/main/audit"
        #expect(rename(audit, audit + ".away") == 0)
        #expect(throws: GRPCStatus.self) { try pause(keeper, 1) }
        #expect(!KeyFile.exists(folder + "/var/lib/covey-agent/main/paused"))
    }

    @Test func `the log is read in pieces as it is on the disk`() throws {
        let keeper = keeper()
        #expect(try claim(keeper, 1))
        var chain = AuditChain()
        let all = try keeper.readAudit(AgentPB.ReadAuditRequest(cluster: "main"))
        chain.take(segment: all.segment, all.data, isLast: all.isEnd)
        chain.end()
        #expect(chain.broken == nil && chain.count == 2 && all.isEnd)
        let rest = try keeper.readAudit(AgentPB.ReadAuditRequest(cluster: "main", offset: 10))
        #expect(Array(all.data.dropFirst(10)) == rest.data)
    }
}
