// Where member and cluster ids come from (raft-semantics 8). Members that compute different ids for the same flags
// would never find each other, so this must match etcd's arithmetic to the bit.

import Foundations

extension MemberID {
    /// From the member's peer URLs and a salt: the cluster token at bootstrap, the decimal Unix time in seconds (and no
    /// token) for a member that is added later. The name does not count.
    package init(peerURLs: [String], salt: String) {
        let sorted = peerURLs.map { Bytes($0.utf8) }.sorted(by: precedes)
        let digest = SHA1.digest(sorted.flatMap { $0 } + Bytes(salt.utf8))
        self.init(digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    package static func atBootstrap(peerURLs: [String], token: String) -> MemberID {
        MemberID(peerURLs: peerURLs, salt: token)
    }

    package static func added(peerURLs: [String], unixTime: Int64) -> MemberID {
        MemberID(peerURLs: peerURLs, salt: String(unixTime))
    }

    /// 1 to 16 hexadecimal digits.
    package init?(hexadecimal text: some StringProtocol) {
        guard (1...16).contains(text.utf8.count), !text.hasPrefix("+"), !text.hasPrefix("-"),
            let number = UInt64(text, radix: 16)
        else { return nil }
        self.init(number)
    }
}

extension ClusterID {
    /// From the members a cluster is bootstrapped with; never changes afterwards.
    package init(bootstrapMembers: [MemberID]) {
        let digest = SHA1.digest(bootstrapMembers.sorted().flatMap { bigEndian($0.rawValue) })
        self.init(digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }
}
