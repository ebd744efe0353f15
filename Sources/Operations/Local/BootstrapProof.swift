// Whether what answers is the cluster that was meant: the same members from everyone's mouth, one cluster id, and, when it
// has just been made, a value written, read and deleted through each member and equal hashes at the end.

import Foundations
import Inventory
import JSON

struct BootstrapProof {
    struct Failure: Error, Equatable, CustomStringConvertible { var description: String }

    struct Proven: Sendable, Equatable {
        /// Hexadecimal.
        var clusterID: String
        /// By name.
        var memberIDs: [String: String]
    }

    let gateway: Gateway
    let hosts: [Inventory.Host]
    let ledger: Ledger

    func run(withCanary: Bool) async throws(Failure) -> Proven {
        var proven: Proven?
        for host in hosts {
            let seen = try await members(host)
            if let proven, proven != seen {
                throw Failure(
                    description:
                        "\(host.name) sees another cluster (\(seen.clusterID)) than the others (\(proven.clusterID))")
            }
            proven = seen
        }
        guard let proven else { throw Failure(description: "nobody to ask") }
        if !ledger.clusterID.isEmpty && proven.clusterID != ledger.clusterID {
            throw Failure(description: "cluster \(proven.clusterID) answers, the ledger says \(ledger.clusterID)")
        }
        if withCanary {
            var revision: Int64 = 0
            for host in hosts { revision = try await canary(host) }
            try await compareHashes(at: revision)
        }
        return proven
    }

    private func members(_ host: Inventory.Host) async throws(Failure) -> Proven {
        let answer = try await ask(host, "/v3/cluster/member/list", .object([.init("linearizable", .bool(true))]))
        var ids: [String: String] = [:]
        var urls: [String: String] = [:]
        for member in answer["members"]?.array ?? [] {
            let name = member["name"]?.string ?? ""
            ids[name] = hexadecimal(member["ID"])
            urls[name] = (member["peerURLs"]?.array ?? []).compactMap(\.string).joined(separator: ",")
        }
        let expected = Dictionary(uniqueKeysWithValues: ledger.members.map { ($0.name, $0.peerURL) })
        guard urls == expected else {
            func shown(_ list: [String: String]) -> String {
                list.sorted { $0.key < $1.key }.map { "\($0.key.isEmpty ? "(not started)" : $0.key)=\($0.value)" }
                    .joined(separator: ",")
            }
            throw Failure(
                description: "\(host.name) knows the members \(shown(urls)), the ledger has \(shown(expected))")
        }
        return Proven(clusterID: hexadecimal(answer["header"]?["cluster_id"]), memberIDs: ids)
    }

    /// A write, a read and a delete through this member. The revision after.
    private func canary(_ host: Inventory.Host) async throws(Failure) -> Int64 {
        let key = JSONValue.string(Base64.encode(Array("\0covey/canary/\(host.name)".utf8)))
        let value = JSONValue.string(Base64.encode(Array(ledger.token.utf8)))
        _ = try await ask(host, "/v3/kv/put", .object([.init("key", key), .init("value", value)]))
        let read = try await ask(host, "/v3/kv/range", .object([.init("key", key)]))
        guard read["kvs"]?.array?.first?["value"] == value else {
            throw Failure(description: "\(host.name) does not have what was written through it a moment ago")
        }
        let deleted = try await ask(host, "/v3/kv/deleterange", .object([.init("key", key)]))
        guard deleted["deleted"]?.string == "1" else {
            throw Failure(description: "\(host.name) did not delete what was written through it")
        }
        return Int64(deleted["header"]?["revision"]?.string ?? "") ?? 0
    }

    private func compareHashes(at revision: Int64) async throws(Failure) {
        var first: (name: String, hash: JSONValue?)?
        for host in hosts {
            // A read that waits for the majority, so that the member has applied this revision.
            _ = try await ask(host, "/v3/kv/range", .object([.init("key", .string(Base64.encode([0])))]))
            let question = JSONValue.object([.init("revision", .string(String(revision)))])
            // Upstream before 3.5.10 does not know the first path; with nobody else writing the second tells the same.
            let known = try? await ask(host, "/v3/maintenance/hashkv", question)
            let answer = if let known { known } else { try await ask(host, "/v3/maintenance/hash", question) }
            let hash = answer["hash"]
            if let first, first.hash != hash {
                throw Failure(description: "the data of \(first.name) and \(host.name) differs at revision \(revision)")
            }
            first = first ?? (host.name, hash)
        }
    }

    private func ask(_ host: Inventory.Host, _ path: String, _ body: JSONValue) async throws(Failure) -> JSONValue {
        switch await gateway.ask(host.address, host.clientPort, path, body, timeoutSeconds: 10) {
        case .failure(let error): throw Failure(description: "\(host.name) \(path): \(error)")
        case .success(let answer):
            guard answer.status == 200, let json = answer.json else {
                throw Failure(
                    description:
                        "\(host.name) \(path): HTTP status \(answer.status): \(String(decoding: answer.body.prefix(200), as: UTF8.self))"
                )
            }
            return json
        }
    }

    private func hexadecimal(_ value: JSONValue?) -> String {
        guard let number = value?.string.flatMap({ UInt64($0) }) ?? value?.uint64 else { return "" }
        let text = String(number, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }
}
