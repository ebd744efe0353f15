// What goes into the audit log: every record of the journal of steps, with who and from where; and what was refused.

import Foundations
import GRPC
import JSON
import Linux
import PKI
import Wire

/// Who asks, as mutual TLS proves it.
struct AuditCaller: Sendable, Equatable {
    /// `operator`, `agent:kv1`.
    var name: String
    var address: String
}

extension HostKeeper {
    /// Makes up for what a crash left out: what the journal has and the audit log has not.
    func openAudit(_ cluster: String) throws(GRPCStatus) {
        guard audits[cluster] == nil else { return }
        try perform { () throws(PKIError) in
            audits[cluster] = try AuditLog(folders.audit(cluster), host: host.name, now: now)
        }
        let copied = audits[cluster]?.journal ?? -1
        for (number, json) in StepJournal.records(folders.journal(cluster), after: copied) {
            let record = StepJournal.Record(
                operation: json["op"]?.string ?? "", epoch: json["epoch"]?.uint64 ?? 0, step: json["step"]?.string ?? "",
                phase: json["phase"]?.string.flatMap { StepJournal.Record.Phase(rawValue: $0) } ?? .done,
                evidence: json["evidence"]?.string ?? "")
            let late = JSONValue.Member("late", .number(json["time"]?.int64 ?? 0))
            try append(cluster, members(cluster, record, caller: nil) + [late], journal: number)
        }
    }

    private func append(_ cluster: String, _ members: [JSONValue.Member], journal: Int64? = nil) throws(GRPCStatus) {
        do throws(SystemError) { try audits[cluster]?.append(members, at: now, journal: journal) } catch {
            throw GRPCStatus(.unavailable, "the audit log on \(host.name) cannot be written, so nothing is done: \(error)")
        }
    }

    /// The copy of one record of the journal, which is on the disk already.
    func copyToAudit(_ cluster: String, _ record: StepJournal.Record, journal number: Int64) throws(GRPCStatus) {
        try append(cluster, members(cluster, record, caller: caller), journal: number)
    }

    /// What was not done, or was done by the agent itself.
    func audit(_ cluster: String, step: String, phase: String, _ result: String, _ operation: AgentPB.Operation? = nil)
        throws(GRPCStatus)
    {
        // Where nothing was ever claimed nothing is recorded, whoever asks.
        guard KeyFile.exists(folders.records(cluster)) else { return }
        try openAudit(cluster)
        try append(
            cluster,
            header(operation, caller) + [
                .init("step", .string(step)), .init("phase", .string(phase)), .init("result", .string(result)),
            ])
    }

    private func members(_ cluster: String, _ record: StepJournal.Record, caller: AuditCaller?) -> [JSONValue.Member] {
        let last = lastOperation(cluster)
        let operation = last?.id == record.operation ? last : nil
        var members = header(operation, caller)
        if operation == nil { members.append(.init("op", .string(record.operation))) }
        members += [.init("epoch", .number(record.epoch)), .init("step", .string(record.step))]
        members += [.init("phase", .string(record.phase.rawValue)), .init("result", .string(record.evidence))]
        if let operation, record.step == "claim" {
            let overrides = Overrides(recorded: operation.arguments)
            members.append(.init("arguments", .array(operation.arguments.map { .string($0) })))
            members.append(.init("inventory", .string(InventoryHash.of(operation.inventory))))
            if !overrides.gates.isEmpty {
                members.append(.init("overrides", .array(overrides.gates.sorted().map { .string($0) })))
                members.append(.init("reason", .string(overrides.reason)))
            }
        }
        return members
    }

    private func header(_ operation: AgentPB.Operation?, _ caller: AuditCaller?) -> [JSONValue.Member] {
        var members: [JSONValue.Member] = [
            .init("who", .string(operation?.owner ?? caller?.name ?? "agent:\(host.name)")),
            .init("identity", .string(caller?.name ?? "agent:\(host.name)")), .init("from", .string(caller?.address ?? "")),
        ]
        guard let operation else { return members }
        members += [.init("op", .string(operation.id)), .init("kind", .string(operation.kind))]
        if !operation.plan.isEmpty { members.append(.init("plan", .string(operation.plan))) }
        return members
    }

    // MARK: Reading

    static let auditBytesMax = 1 << 20

    func readAudit(_ request: AgentPB.ReadAuditRequest) throws(GRPCStatus) -> AgentPB.ReadAuditResponse {
        try checkName(request.cluster)
        let folder = folders.audit(request.cluster)
        let segments = AuditLog.segments(folder)
        var answer = AgentPB.ReadAuditResponse(isEnd: true)
        if request.last > 0 {
            answer.data = try perform { () throws(PKIError) in try AuditReading.last(folder, Int(min(request.last, 1000))) }
            return answer
        }
        guard let segment = segments.first(where: { $0 >= request.segment }) else { return answer }
        let bytes = try perform { () throws(PKIError) in try AuditLog.read(folder, segment) }
        let start = segment == request.segment ? min(Int(clamping: request.offset), bytes.count) : 0
        let end = min(bytes.count, start + Self.auditBytesMax)
        answer.segment = segment
        answer.data = Array(bytes[start..<end])
        let next = segments.first { $0 > segment }
        answer.nextSegment = end < bytes.count ? segment : next ?? segment
        answer.nextOffset = end < bytes.count ? UInt64(end) : 0
        answer.isEnd = end == bytes.count && next == nil
        return answer
    }

    /// For those who watch over hosts: how many, the last one's hash, what is wrong.
    func describeAudit(_ cluster: String, _ seen: inout AgentPB.ObserveResponse) {
        // What was never written says nothing; what cannot be opened is told by the next step.
        guard KeyFile.exists(folders.audit(cluster)), (try? openAudit(cluster)) != nil, let log = audits[cluster] else { return }
        seen.auditCount = log.count
        seen.auditHead = log.head
        seen.auditDamage = log.damage ?? ""
    }
}

enum AuditReading {
    /// The last records, oldest first, as they are on the disk.
    static func last(_ folder: String, _ count: Int) throws(PKIError) -> [UInt8] {
        var lines: [ArraySlice<UInt8>] = []
        for segment in AuditLog.segments(folder).reversed() where lines.count < count {
            lines = try AuditLog.read(folder, segment).split(separator: 0x0a) + lines
        }
        var bytes: [UInt8] = []
        for line in lines.suffix(count).reversed() {
            if bytes.count + line.count > HostKeeper.auditBytesMax { break }
            bytes = Array(line) + [0x0a] + bytes
        }
        return bytes
    }

    /// A folder of files, here or copied from a host.
    static func check(_ folder: String, _ anchor: AuditChain.Anchor?) throws(PKIError) -> AuditChain {
        var chain = AuditChain(anchor: anchor)
        let segments = AuditLog.segments(folder)
        for segment in segments {
            chain.take(segment: segment, try AuditLog.read(folder, segment), isLast: segment == segments.last)
        }
        chain.end()
        return chain
    }
}
