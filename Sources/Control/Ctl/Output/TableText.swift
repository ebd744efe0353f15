// Tables, for the answers that are some.

import Foundations

struct TableText {
    func render(_ reply: Reply) throws(CtlFailure) -> Bytes {
        let table: AsciiTable
        switch reply {
        case .memberList(let list): table = AsciiTable(MemberRows.header, MemberRows.of(list))
        case .endpointHealth(let checks):
            let rows = checks.map { [$0.endpoint, String($0.isHealthy), $0.took, $0.error ?? ""] }
            table = AsciiTable(["Endpoint", "Health", "Took", "Error"], rows)
        case .endpointStatus(let statuses): table = AsciiTable(StatusRows.header, StatusRows.of(statuses))
        case .endpointHashKV(let hashes):
            table = AsciiTable(["Endpoint", "Hash"], hashes.map { [$0.endpoint, String($0.hash.hash)] })
        case .snapshotStatus(let status): table = AsciiTable(SnapshotRow.header, [SnapshotRow.of(status)])
        default: throw Reply.unsupported(.table)
        }
        return Bytes(table.text.utf8)
    }
}
