// The report as a person reads it, and as a program does.

import Flags
import Inventory
import JSON

extension ClusterReport {
    var text: String {
        var out = "\(name)  \(level.name)  voters \(voters) quorum \(quorum) can lose \(tolerance)"
        if let leader { out += "   leader \(leader) (term \(term))   rev \(revision)" }
        out += "\n"
        for reason in reasons { out += "  ! \(reason)\n" }
        for difference in drift { out += "  ~ \(difference)\n" }
        var table = [["HOST", "ROLE", "STATE", "VER", "TERM", "LAG", "DB/IN-USE", "LEAF", "ENDPOINT"]]
        table += rows.map { row in
            let facts = row.view?.facts
            return [
                row.host.name, row.role, row.state, facts?.version ?? "-", facts.map { String($0.term) } ?? "-",
                facts?.isLeader == true ? "-" : row.lag.map { String($0) } ?? "-",
                facts.map { "\(size($0.storeBytes))/\(size($0.storeBytesInUse))" } ?? "-",
                row.certificateSecondsLeft.map { $0 > 0 ? Self.age($0) : "expired" } ?? "-", row.host.clientURL,
            ]
        }
        return out + Columns.text(table)
    }

    private func size(_ bytes: Int64) -> String { ByteSize.format(UInt64(clamping: bytes)) }

    var json: JSONValue {
        .object([
            .init("schemaVersion", .number(1)), .init("cluster", .string(name)), .init("clusterID", .string(clusterID)),
            .init("level", .string(level.name)), .init("reasons", .array(reasons.map { .string($0) })),
            .init("drift", .array(drift.map { .string($0) })), .init("generation", .number(generation)),
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
            .init("name", .string(row.host.name)), .init("role", .string(row.role)), .init("health", .string(health)),
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
        if let left = row.certificateSecondsLeft { members.append(.init("certificateSecondsLeft", .number(left))) }
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
