// What has been made, as opposed to what should be. Written before a cluster is made (pending) and when it is proven to be
// one (active); from then on members are started as `existing`. Whether a cluster is new is never guessed from what
// answers: that splits clusters.

import Foundations
import Inventory
import JSON

struct Ledger: Sendable, Equatable {
    enum State: String, Sendable { case pending, active }

    struct Member: Sendable, Equatable {
        var name: String
        var peerURL: String
        /// It was about to be started at least once: data is to be expected.
        var wasStarted = false
        /// Hexadecimal; empty until the cluster is proven.
        var id = ""

        /// As an inventory would have it, when none does: the port for clients is a guess.
        func host(clientPort: Int) -> Inventory.Host {
            var address = peerURL.split(separator: "/").last.map(String.init) ?? peerURL
            var port = 0
            if let colon = address.lastIndex(of: ":"), let number = Int(address[address.index(after: colon)...]) {
                port = number
                address = String(address[..<colon])
            }
            if address.hasPrefix("[") && address.hasSuffix("]") { address = String(address.dropFirst().dropLast()) }
            return Inventory.Host(name: name, address: address, clientPort: clientPort, peerPort: port)
        }
    }

    static let format = 1

    var cluster: String
    var state: State
    /// Random; a new one for each bootstrap.
    var token: String
    /// Hexadecimal; empty until the cluster is proven.
    var clusterID = ""
    /// Seconds since 1970.
    var bootstrapped: Int64 = 0
    /// Counts the inventories that were in effect.
    var generation: Int64
    /// Of the inventory in effect.
    var digest: InventoryDigest
    var members: [Member]

    /// A cluster that is about to be made.
    static func pending(_ inventory: Inventory, token: String) -> Ledger {
        Ledger(
            cluster: inventory.name, state: .pending, token: token, generation: max(1, inventory.generation),
            digest: inventory.digest,
            members: inventory.voters.map { Member(name: $0.name, peerURL: $0.peerURL) })
    }

    /// By address: a host that was only given another name is the same member.
    func has(_ host: Inventory.Host) -> Bool { members.contains { $0.peerURL == host.peerURL } }

    /// An active one before a pending one, then the one that has seen more changes.
    static func newest(_ ledgers: some Sequence<Ledger>) -> Ledger? {
        ledgers.max { ($0.state == .active ? 1 : 0, $0.generation) < ($1.state == .active ? 1 : 0, $1.generation) }
    }

    /// An inventory that differs from the one in effect takes effect.
    mutating func take(_ inventory: Inventory) {
        if inventory.digest != digest { generation = max(generation + 1, inventory.generation) }
        generation = max(generation, inventory.generation)
        digest = inventory.digest
    }

    // MARK: As a file

    var json: JSONValue {
        .object([
            .init("format", .number(Self.format)), .init("cluster", .string(cluster)),
            .init("state", .string(state.rawValue)),
            .init("token", .string(token)), .init("clusterID", .string(clusterID)),
            .init("bootstrapped", .number(bootstrapped)), .init("generation", .number(generation)),
            .init("digest", .string(digest.hex)),
            .init(
                "members",
                .array(
                    members.map { member in
                        .object([
                            .init("name", .string(member.name)), .init("peerURL", .string(member.peerURL)),
                            .init("wasStarted", .bool(member.wasStarted)), .init("id", .string(member.id)),
                        ])
                    })),
        ])
    }

    /// Nil for what is no ledger of this format.
    init?(_ json: JSONValue) {
        guard json["format"]?.int64 == Int64(Self.format), let cluster = json["cluster"]?.string,
            let state = json["state"]?.string.flatMap(State.init(rawValue:)), let token = json["token"]?.string,
            let clusterID = json["clusterID"]?.string, let bootstrapped = json["bootstrapped"]?.int64,
            let generation = json["generation"]?.int64, let digest = json["digest"]?.string,
            let list = json["members"]?.array
        else { return nil }
        var members: [Member] = []
        for item in list {
            guard let name = item["name"]?.string, let url = item["peerURL"]?.string,
                let wasStarted = item["wasStarted"]?.bool, let id = item["id"]?.string
            else { return nil }
            members.append(Member(name: name, peerURL: url, wasStarted: wasStarted, id: id))
        }
        self.init(
            cluster: cluster, state: state, token: token, clusterID: clusterID, bootstrapped: bootstrapped,
            generation: generation, digest: InventoryDigest(hex: digest), members: members)
    }

    init(
        cluster: String, state: State, token: String, clusterID: String = "", bootstrapped: Int64 = 0,
        generation: Int64,
        digest: InventoryDigest, members: [Member]
    ) {
        self.cluster = cluster
        self.state = state
        self.token = token
        self.clusterID = clusterID
        self.bootstrapped = bootstrapped
        self.generation = generation
        self.digest = digest
        self.members = members
    }
}
