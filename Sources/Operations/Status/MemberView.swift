// What one member says of itself at one moment.

import Foundations
import Inventory
import JSON

struct MemberView: Sendable, Equatable {
    enum Health: Sendable, Equatable {
        case healthy
        /// It answers, and says why it cannot serve.
        case unhealthy(String)
        case unreachable(String)

        /// For people.
        var text: String {
            switch self {
            case .healthy: "healthy"
            case .unhealthy(let reason): "unhealthy: \(reason)"
            case .unreachable(let reason): "does not answer: \(reason)"
            }
        }
    }

    var health: Health
    /// Nil when it does not answer.
    var facts: Facts?

    struct Facts: Sendable, Equatable {
        var memberID: UInt64
        var clusterID: UInt64
        var leaderID: UInt64
        var version: String
        var term: UInt64
        var raftIndex: UInt64
        var appliedIndex: UInt64
        var revision: Int64
        var storeBytes: Int64
        var storeBytesInUse: Int64
        var isLearner: Bool
        var errors: [String]

        var isOutOfSpace: Bool { errors.contains { $0.contains("NOSPACE") } }
        var isLeader: Bool { leaderID != 0 && leaderID == memberID }
    }

    var isHealthy: Bool { health == .healthy }

    /// Asks for health and facts at the same time.
    static func observe(_ host: Inventory.Host, _ gateway: Gateway) async -> MemberView {
        async let healthAnswer = gateway.ask(host.address, host.clientPort, "/health")
        async let facts = Facts.ask(host, gateway)
        let health = await healthAnswer
        var view = MemberView(health: .healthy, facts: await facts)
        switch health {
        case .failure(let error): view.health = .unreachable("\(error)")
        case .success(let answer):
            if answer.json?["health"]?.string != "true" {
                let reason = answer.json?["reason"]?.string ?? ""
                view.health = .unhealthy(reason.isEmpty ? "HTTP status \(answer.status)" : reason)
            }
        }
        if case .unhealthy = view.health, view.facts?.isOutOfSpace == true, await serves(host, gateway) {
            view.health = .healthy
        }
        return view
    }

    /// A member that is out of space calls itself unhealthy and is a full voter that reads: the alarm says the rest.
    private static func serves(_ host: Inventory.Host, _ gateway: Gateway) async -> Bool {
        let request = JSONValue.object([
            .init("key", .string(Base64.encode([0]))), .init("count_only", .bool(true)),
        ])
        guard case .success(let answer) = await gateway.ask(host.address, host.clientPort, "/v3/kv/range", request)
        else { return false }
        return answer.status == 200
    }
}

extension MemberView.Facts {
    /// Nil when nothing is heard of it.
    static func ask(_ host: Inventory.Host, _ gateway: Gateway) async -> Self? {
        guard
            case .success(let answer) = await gateway.ask(
                host.address, host.clientPort, "/v3/maintenance/status", .object([])), answer.status == 200
        else { return nil }
        return answer.json.flatMap { Self($0) }
    }

    /// Numbers of 64 bits are strings in the gateway's JSON, and zero values are left out.
    init?(_ json: JSONValue) {
        guard let header = json["header"] else { return nil }
        func number(_ value: JSONValue?) -> UInt64 { value?.string.flatMap { UInt64($0) } ?? value?.uint64 ?? 0 }
        memberID = number(header["member_id"])
        clusterID = number(header["cluster_id"])
        revision = Int64(clamping: number(header["revision"]))
        leaderID = number(json["leader"])
        version = json["version"]?.string ?? ""
        term = number(json["raftTerm"])
        raftIndex = number(json["raftIndex"])
        appliedIndex = number(json["raftAppliedIndex"])
        storeBytes = Int64(clamping: number(json["dbSize"]))
        storeBytesInUse = Int64(clamping: number(json["dbSizeInUse"]))
        isLearner = json["isLearner"]?.bool ?? false
        errors = json["errors"]?.array?.compactMap(\.string) ?? []
    }
}
