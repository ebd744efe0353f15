// The report as a person reads it, and as a program does.

import Flags
import Inventory
import JSON

extension ClusterReport {
    var text: String {
        var out = "\(name)  \(level.name)  voters \(voters) quorum \(quorum) can lose \(tolerance)"
        if let leader { out += "   leader \(leader) (term \(term))   rev \(revision)" }
        if let observed { out += "   as of \(EventLines.time(observed).prefix(8))Z" }
        out += "\n"
        for reason in reasons { out += "  ! \(reason)\n" }
        for difference in drift { out += "  ~ \(difference)\n" }
        for note in notes { out += "  - \(note)\n" }
        // Ages are told when something shown is not of this moment.
        let showsAges = rows.contains { $0.age != nil }
        let showsSlots = rows.contains { $0.slot?.isEmpty == false }
        let showsSyncs = rows.contains { $0.syncTime != nil }
        var titles = ["HOST", "ROLE", "STATE", "VER"] + (showsSlots ? ["SLOT"] : []) + ["TERM", "LAG", "DB/IN-USE"]
        titles += (showsSyncs ? ["FSYNC99"] : []) + ["LEAF"]
        if showsAges { titles.append("AGE") }
        titles.append("ENDPOINT")
        var table = [titles]
        for row in rows { table.append(cells(row, showsAge: showsAges, showsSlot: showsSlots, showsSync: showsSyncs)) }
        return out + Columns.text(table)
    }

    private func cells(_ row: Row, showsAge: Bool, showsSlot: Bool, showsSync: Bool) -> [String] {
        let facts = row.view?.facts
        var cells = [row.host.name, row.role, row.state, facts?.version ?? "-"]
        if showsSlot { cells.append(row.slot.flatMap { $0.isEmpty ? nil : $0 } ?? "-") }
        cells.append(facts.map { String($0.term) } ?? "-")
        cells.append(facts?.isLeader == true ? "-" : row.lag.map { String($0) } ?? "-")
        cells.append(facts.map { "\(size($0.storeBytes))/\(size($0.storeBytesInUse))" } ?? "-")
        if showsSync { cells.append(row.syncTime.map { "\($0 / 1_000_000) ms" } ?? "-") }
        cells.append(row.certificateSecondsLeft.map { $0 > 0 ? Self.age($0) : "expired" } ?? "-")
        if showsAge { cells.append(row.age.map(Self.shortAge) ?? (facts == nil ? "-" : "0 s")) }
        return cells + [row.host.clientURL]
    }

    /// What is different now, a line each; of the first report all of it.
    func changes(since before: ClusterReport?) -> [String] {
        var lines: [String] = []
        let verdict = "\(name)  \(level.name)  voters \(voters) healthy \(votersHealthy) can lose \(tolerance)"
        if before.map({
            ($0.level, $0.voters, $0.votersHealthy) != (level, voters, votersHealthy)
        }) ?? true {
            lines.append(verdict)
        }
        if let leader, before?.leader != leader { lines.append("\(name)  leader \(leader) (term \(term))") }
        for row in rows {
            let old = before?.rows.first { $0.host.name == row.host.name }
            if old?.state == row.state && old?.isMember == row.isMember { continue }
            lines.append("\(row.host.name)  \(row.isMember ? row.state : "no member")")
        }
        for row in before?.rows ?? [] where !rows.contains(where: { $0.host.name == row.host.name }) {
            lines.append("\(row.host.name)  is gone")
        }
        func added(_ list: [String], _ old: [String]?, _ mark: String) {
            lines += list.filter { old?.contains($0) != true }.map { "\(mark) \($0)" }
        }
        added(reasons, before?.reasons, "!")
        added(drift, before?.drift, "~")
        added(notes, before?.notes, "-")
        return lines
    }

    static func shortAge(_ seconds: Int64) -> String { seconds < 120 ? "\(seconds) s" : age(seconds) }

    private func size(_ bytes: Int64) -> String { ByteSize.format(UInt64(clamping: bytes)) }

    var json: JSONValue {
        .object([
            .init("schemaVersion", .number(1)), .init("cluster", .string(name)), .init("clusterID", .string(clusterID)),
            .init("level", .string(level.name)), .init("reasons", .array(reasons.map { .string($0) })),
            .init("drift", .array(drift.map { .string($0) })), .init("notes", .array(notes.map { .string($0) })),
            .init("membersFrom", .string(source)),
            .init("observed", observed.map { .number(Int64($0 / 1_000_000_000)) } ?? .null),
            .init("generation", .number(generation)),
            .init("voters", .number(voters)), .init("votersHealthy", .number(votersHealthy)),
            .init("quorum", .number(quorum)),
            .init("tolerance", .number(tolerance)), .init("leader", leader.map { .string($0) } ?? .null),
            .init("term", .number(term)), .init("revision", .number(revision)),
            .init("members", .array(rows.map(Self.json))),
        ])
    }

    private static func json(_ row: Row) -> JSONValue {
        let health: String =
            switch row.view?.health {
            case .healthy?: "healthy"
            case .unhealthy?: "unhealthy"
            case .unreachable?: "unreachable"
            case nil: "not asked"
            }
        var members: [JSONValue.Member] = [
            .init("name", .string(row.host.name)), .init("isMember", .bool(row.isMember)),
            .init("role", .string(row.role)), .init("health", .string(health)),
            .init("endpoint", .string(row.host.clientURL)),
        ]
        switch row.view?.health {
        case .unhealthy(let reason)?, .unreachable(let reason)?: members.append(.init("reason", .string(reason)))
        default: break
        }
        if let facts = row.view?.facts {
            members += [
                .init("id", .string(String(facts.memberID, radix: 16))), .init("version", .string(facts.version)),
                .init("term", .number(facts.term)), .init("raftIndex", .number(facts.raftIndex)),
                .init("appliedIndex", .number(facts.appliedIndex)), .init("lag", .number(row.lag ?? 0)),
                .init("revision", .number(facts.revision)), .init("dbSize", .number(facts.storeBytes)),
                .init("dbSizeInUse", .number(facts.storeBytesInUse)),
                .init("errors", .array(facts.errors.map { .string($0) })),
            ]
        }
        if let slot = row.slot, !slot.isEmpty { members.append(.init("slot", .string(slot))) }
        if let time = row.syncTime { members.append(.init("fsyncP99Microseconds", .number(time / 1_000))) }
        if let unit = row.unit { members.append(.init("unit", .string(unit))) }
        if row.view?.facts != nil { members.append(.init("ageSeconds", .number(row.age ?? 0))) }
        if let left = row.certificateSecondsLeft { members.append(.init("certificateSecondsLeft", .number(left))) }
        if let left = row.identitySecondsLeft { members.append(.init("agentCertificateSecondsLeft", .number(left))) }
        return .object(members)
    }
}

/// A table for people: columns two blanks apart, the last one ragged.
enum Columns {
    static func text(_ rows: [[String]]) -> String {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (i, cell) in row.enumerated() {
                line += cell
                if i < row.count - 1 { line += String(repeating: " ", count: widths[i] - cell.count + 2) }
            }
            return line + "\n"
        }.joined()
    }
}
