// How proto names become Swift names.

enum Names {
    /// Packages whose messages live inside an enum; those of the others are flat.
    static let namespaces = [
        "raftpb": "RaftPB", "walpb": "WALPB", "snappb": "SnapPB", "leasepb": "LeasePB", "membershippb": "MembershipPB",
        "grpc.health.v1": "HealthPB", "coveyagentpb": "AgentPB",
    ]

    /// `.etcdserverpb.RangeRequest.SortOrder` -> `RangeRequest.SortOrder`, `.raftpb.Entry` -> `RaftPB.Entry`.
    static func type(_ full: String, in packages: [String]) -> String {
        let path = full.dropFirst()
        // The longest package that fits: message names never begin a package name here.
        let package = packages.filter { path.hasPrefix($0 + ".") }.max { $0.count < $1.count } ?? ""
        let inside = path.dropFirst(package.count + 1).split(separator: ".").map { typePart(String($0)) }
        return ((namespaces[package].map { [$0] } ?? []) + inside).joined(separator: ".")
    }

    /// A nested type may not be called `Type` in Swift.
    static func typePart(_ name: String) -> String { name == "Type" ? "Kind" : name }

    /// `range_end` -> `rangeEnd`, `ID` -> `id`, `TTL` -> `ttl`, `NodeID` -> `nodeID`, `remaining_TTL` -> `remainingTTL`,
    /// `NOT_EQUAL` -> `notEqual`, `MsgApp` -> `msgApp`.
    static func member(_ name: String) -> String {
        var parts = name.split(separator: "_").map(String.init)
        if name == name.uppercased() { parts = parts.map { $0.lowercased() } }
        parts[0] = lowerFirst(parts[0])
        for i in parts.indices.dropFirst() { parts[i] = upperFirst(parts[i]) }
        return escaped(parts.joined())
    }

    static func upperFirst(_ name: String) -> String { name.prefix(1).uppercased() + name.dropFirst() }

    /// Lowers the leading capitals but the one that begins the next word: `NodeID`, `TTL`, `URLPath` -> `urlPath`.
    static func lowerFirst(_ name: String) -> String {
        let capitals = name.prefix { $0.isUppercase }.count
        if capitals == name.count { return name.lowercased() }
        let lowered = max(1, capitals - 1)
        return capitals == 0 ? name : name.prefix(lowered).lowercased() + name.dropFirst(lowered)
    }

    static func escaped(_ name: String) -> String {
        ["default", "in", "is", "as", "self", "switch", "case", "init", "repeat"].contains(name) ? "`\(name)`" : name
    }
}
