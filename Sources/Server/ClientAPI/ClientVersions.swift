// Calls by the version of the client library that made them, which Go's library says in each call's metadata. Counted on
// the way of every call: nothing is taken out of the metadata unless another client came than the last one.

import Connections
import Foundations

package final class ClientVersions {
    package struct Count {
        package let version: Bytes
        package var unary: UInt64 = 0
        package var streams: UInt64 = 0
    }

    /// The first is for calls that do not say.
    package private(set) var counts = [Count(version: Bytes("unknown".utf8))]
    private var last = 0

    /// What clients say cannot fill the memory; beyond this they share one count.
    static let versionsMax = 64
    static let versionBytesMax = 32

    func unary(_ context: CallContext, hasMetadata: Bool) { counts[hasMetadata ? find(context) : 0].unary &+= 1 }
    func stream(_ context: CallContext) { counts[find(context)].streams &+= 1 }

    /// Through the gateway, where nobody says.
    func gateway(isStream: Bool) { if isStream { counts[0].streams &+= 1 } else { counts[0].unary &+= 1 } }

    private func find(_ context: CallContext) -> Int {
        if last > 0, context.hasMetadata("client-api-version", counts[last].version) { return last }
        guard let version = context.metadata("client-api-version"), !version.isEmpty else { return 0 }
        last = place(version)
        return last
    }

    private func place(_ version: Bytes) -> Int {
        if let known = counts.firstIndex(where: { $0.version == version }) { return known }
        let isOdd = version.count > ClientVersions.versionBytesMax || counts.count >= ClientVersions.versionsMax
        let name = isOdd ? Bytes("other".utf8) : version
        if let known = counts.firstIndex(where: { $0.version == name }) { return known }
        counts.append(Count(version: name))
        return counts.count - 1
    }
}
