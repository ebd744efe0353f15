// `covey audit`: the audit logs of the hosts, side by side; with --verify their chains, checked on this machine and against
// what this machine saw when it last looked. Also of a folder of files, on a host or copied from one.
//
// Exit codes: 0 all hold, 1 one does not, or a host could not be asked.

import Flags
import Foundations
import GRPC
import Inventory
import JSON
import Linux
import PKI
import Wire

struct AuditCommand {
    var verifies: Bool
    var host: String
    var operation: String
    var last: Int
    var asJSON: Bool

    init(_ values: OptionValues) {
        verifies = values.bool("verify")
        host = values.text("host")
        operation = values.text("op")
        last = Int(clamping: values.integer("last"))
        asJSON = values.text("output") == "json"
    }

    // MARK: Files

    func run(folder: String) -> Int32 {
        guard !AuditLog.segments(folder).isEmpty else {
            Output.error("covey audit: \(folder) holds no audit log (audit-*.log)\n")
            return 1
        }
        do throws(PKIError) {
            if !verifies {
                show([(folder, try AuditReading.last(folder, last))])
                return 0
            }
            return tell([Found(host: folder, chain: try AuditReading.check(folder, nil))])
        } catch {
            Output.error("covey audit: \(error)\n")
            return 1
        }
    }

    // MARK: Hosts

    func run(_ fleet: Fleet) async throws(FleetFailure) -> Int32 {
        let names = host.isEmpty ? fleet.inventory.hosts.map(\.name) : [try fleet.host(host).name]
        return verifies ? await verify(fleet, names) : await list(fleet, names)
    }

    private func list(_ fleet: Fleet, _ names: [String]) async -> Int32 {
        var read: [(String, [UInt8])] = []
        var isComplete = true
        for name in names {
            do throws(FleetFailure) {
                let answer: AgentPB.ReadAuditResponse = try await fleet.agents.call(
                    name, RPC.Agent.readAudit,
                    AgentPB.ReadAuditRequest(cluster: fleet.cluster, last: UInt32(clamping: last)))
                read.append((name, answer.data))
            } catch {
                isComplete = false
                Output.error("covey audit: \(error)\n")
            }
        }
        show(read)
        return isComplete ? 0 : 1
    }

    private func show(_ logs: [(String, [UInt8])]) {
        var records: [(time: Int64, number: UInt64, host: String, json: JSONValue)] = []
        for (host, bytes) in logs {
            for line in bytes.split(separator: 0x0a) {
                // What does not fit its hash is shown by --verify.
                guard let json = AuditChain.read(line)?.json else {
                    Output.error("covey audit: \(host): a record does not fit its hash; see: covey audit --verify\n")
                    continue
                }
                guard operation.isEmpty || json["op"]?.string == operation else { continue }
                records.append((json["time"]?.int64 ?? 0, json["n"]?.uint64 ?? 0, json["host"]?.string ?? host, json))
            }
        }
        records.sort { ($0.time, $0.host, $0.number) < ($1.time, $1.host, $1.number) }
        if asJSON {
            let list = JSONValue.array(records.map(\.json))
            Output.data(JSONValue.object([.init("schemaVersion", .number(1)), .init("records", list)]).text() + "\n")
            return
        }
        var rows = [["TIME", "HOST", "N", "WHO", "FROM", "OPERATION", "STEP", "", "RESULT"]]
        for record in records {
            func text(_ name: String) -> String { record.json[name]?.string ?? "" }
            let from = [text("identity"), text("from")].filter { !$0.isEmpty }.joined(separator: " ")
            rows.append([
                UTCTime.stamp(record.time), record.host, String(record.number), text("who"), from, text("op"), text("step"),
                text("phase"), text("result") + reason(record.json),
            ])
        }
        Output.data(rows.count == 1 ? "nothing is recorded\n" : Columns.text(rows))
    }

    private func reason(_ json: JSONValue) -> String {
        let gates = (json["overrides"]?.array ?? []).compactMap(\.string)
        return gates.isEmpty ? "" : "; overridden: \(gates.joined(separator: ", ")), because: \(json["reason"]?.string ?? "")"
    }

    // MARK: Chains

    private struct Found {
        var host: String
        var chain: AuditChain
        var failure: String?
    }

    private func verify(_ fleet: Fleet, _ names: [String]) async -> Int32 {
        let memory = AuditMemory(fleet.authorities.folder)
        var found: [Found] = []
        for name in names {
            do throws(FleetFailure) {
                found.append(Found(host: name, chain: try await read(fleet, name, memory.anchor(name))))
            } catch { found.append(Found(host: name, chain: AuditChain(), failure: error.text)) }
        }
        memory.remember(found.filter { $0.failure == nil && $0.chain.broken == nil }.map { ($0.host, $0.chain) })
        return tell(found)
    }

    private func read(_ fleet: Fleet, _ host: String, _ anchor: AuditChain.Anchor?) async throws(FleetFailure) -> AuditChain {
        var chain = AuditChain(anchor: anchor)
        var request = AgentPB.ReadAuditRequest(cluster: fleet.cluster)
        var segment: [UInt8] = []
        while true {
            let answer: AgentPB.ReadAuditResponse = try await fleet.agents.call(host, RPC.Agent.readAudit, request)
            segment += answer.data
            if answer.isEnd || answer.nextSegment != answer.segment {
                if !(answer.isEnd && answer.data.isEmpty && segment.isEmpty) {
                    chain.take(segment: answer.segment, segment, isLast: answer.isEnd)
                }
                segment = []
            }
            if answer.isEnd { break }
            request.segment = answer.nextSegment
            request.offset = answer.nextOffset
        }
        chain.end()
        return chain
    }

    private func tell(_ found: [Found]) -> Int32 {
        let isGood = found.allSatisfy { $0.failure == nil && $0.chain.broken == nil }
        if asJSON {
            let hosts = found.map { found in
                JSONValue.object([
                    .init("host", .string(found.host)), .init("holds", .bool(found.failure == nil && found.chain.broken == nil)),
                    .init("records", .number(found.chain.count)), .init("first", .number(found.chain.first ?? 0)),
                    .init("head", .string(found.chain.head ?? "")),
                    .init("broken", found.chain.broken.map { .string("\($0)") } ?? .null),
                    .init("failure", found.failure.map { .string($0) } ?? .null),
                    .init("remarks", .array(found.chain.remarks.map { .string($0) })),
                ])
            }
            Output.data(JSONValue.object([.init("schemaVersion", .number(1)), .init("hosts", .array(hosts))]).text() + "\n")
            return isGood ? 0 : 1
        }
        for found in found {
            let chain = found.chain
            if let failure = found.failure {
                Output.data("\(found.host)  NOT READ  \(failure)\n")
            } else if let broken = chain.broken {
                Output.data("\(found.host)  BROKEN  \(broken)\n")
                Output.data("  what is before it holds; keep the files as they are, and ask who was root there\n")
            } else if chain.first == nil {
                Output.data("\(found.host)  holds  nothing is recorded yet\n")
            } else {
                let begin = chain.first.map { $0 > 0 ? ", from record \($0) on" : "" } ?? ""
                Output.data("\(found.host)  holds  \(chain.count) records\(begin), the last one \(chain.head?.prefix(12) ?? "")\n")
            }
            for remark in chain.remarks { Output.data("  - \(remark)\n") }
            if chain.torn > 0 { Output.data("  - \(chain.torn) bytes of an unfinished record at the end\n") }
        }
        return isGood ? 0 : 1
    }
}

/// The last record of each host the operator's machine has seen: a log that was cut off or written anew does not have it.
struct AuditMemory {
    private let path: String
    private var seen: [String: AuditChain.Anchor] = [:]

    init(_ folder: StateFolder) {
        path = folder.root + "/audit-seen.json"
        // The first time there is none; one that cannot be read remembers nothing.
        guard let bytes = try? KeyFile.read(path).bytes, let json = try? JSONValue(parsing: bytes) else { return }
        for member in json.members ?? [] {
            guard let record = member.value["record"]?.uint64, let hash = member.value["hash"]?.string else { continue }
            seen[member.name] = AuditChain.Anchor(record: record, hash: hash)
        }
    }

    func anchor(_ host: String) -> AuditChain.Anchor? { seen[host] }

    func remember(_ chains: [(String, AuditChain)]) {
        var all = seen
        for (host, chain) in chains where chain.count > 0 {
            all[host] = AuditChain.Anchor(record: chain.count - 1, hash: chain.head ?? "")
        }
        let json = JSONValue.object(
            all.sorted { $0.key < $1.key }.map { host, anchor in
                .init(host, .object([.init("record", .number(anchor.record)), .init("hash", .string(anchor.hash))]))
            })
        do throws(PKIError) {
            try KeyFile.write(Array(PrettyJSON.text(json).utf8), to: path, mode: 0o600)
        } catch { Output.error("covey audit: what was seen is not remembered: \(error)\n") }
    }
}
