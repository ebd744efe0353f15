// The members of a new cluster find each other in a registry that all of them know: another cluster (`TokenRegistry`,
// --discovery-token) or a discovery service with the v2 keys API (`KeysRegistry`, --discovery). Either holds how many members there
// will be, and each member writes itself beside it. What is the same for both is here: the first so many, by the revision that
// created what they wrote, are the cluster.
//
//     look -> register -> look -> wait, look, wait, look ... -> `a=http://10.0.0.1:2380,b=http://10.0.0.2:2380`
//
// What the registry does not answer is asked again, after pauses that double; only what it does answer is final.

import Flags
import Foundations
import Linux

/// Whoever holds the list. An error that is no `ClusterDiscovery.Failure` means that it gave no answer.
protocol DiscoveryRegistry: Sendable {
    /// A member that finds itself in the list although it has not written itself there is one that starts again before the others
    /// came, and keeps its place. Otherwise it is refused.
    var placesAreKept: Bool { get }

    func look() async throws -> ClusterDiscovery.Seen
    func register() async throws
    /// Returns when there may be more than `seen`.
    func change(after seen: ClusterDiscovery.Seen) async throws
}

final class ClusterDiscovery: Sendable {
    struct Failure: Error, Equatable, CustomStringConvertible {
        var description: String

        static let noSize = Failure(description: "discovery: size key not found")
        static let badSize = Failure(description: "discovery: size key is bad")
        static let full = Failure(description: "discovery: cluster is full")
        static let duplicateID = Failure(description: "discovery: found duplicate id")
        static let duplicateName = Failure(description: "discovery: found duplicate name")
        static let invalidURL = Failure(description: "discovery: invalid URL")
        static let badEndpoint = Failure(description: "discovery: bad discovery endpoint")
        static let stopped = Failure(description: "discovery: stopped")
    }

    struct Seen: Sendable, Equatable {
        struct Member: Sendable, Equatable {
            /// The last part of its key.
            var id: String
            /// `name=url`, comma separated for several URLs.
            var text: String
            var createRevision: Int64
        }

        var size: Int
        private(set) var members: [Member]
        /// Of the list; nil when the registry does not tell.
        var revision: Int64?

        init(size: Int, members: [Member], revision: Int64?) {
            self.size = size
            self.members = members.sorted { $0.createRevision < $1.createRevision }
            self.revision = revision
        }

        var isFull: Bool { members.count >= size }

        func place(of id: String) -> Int? { members.firstIndex { $0.id == id } }

        /// The first `size` as --initial-cluster would name them.
        func cluster() throws(Failure) -> String {
            let text = members.prefix(size).map(\.text).joined(separator: ",")
            let parsed: Flags.InitialCluster
            do throws(URLError) { parsed = try Flags.InitialCluster.parse(text) } catch { throw .invalidURL }
            guard parsed.members.count == size else { throw .duplicateName }
            return text
        }

        static func size(_ text: String) throws(Failure) -> Int {
            guard let size = Int(text), (1...membersMax).contains(size) else { throw .badSize }
            return size
        }
    }

    /// What happened, for the log; `isProblem` when somebody should look.
    typealias Report = @Sendable (_ message: String, _ fields: [(String, String)], _ isProblem: Bool) -> Void

    static let membersMax = 1_000
    private static let pauseSecondsMax: UInt64 = 256

    private let registry: any DiscoveryRegistry
    private let ownID: String
    private let name: String
    private let settings: ServerConfiguration.Discovery
    private let report: Report

    /// `member`: the id this server will have. On the loop's thread.
    init(
        _ settings: ServerConfiguration.Discovery, member: MemberID, name: String, urls: [MemberURL], loop: EventLoop,
        report: @escaping Report
    ) throws(Failure) {
        ownID = "\(member)"
        self.name = name
        self.settings = settings
        self.report = report
        let value = urls.map { "\(name)=\($0)" }.sorted().joined(separator: ",")
        if settings.url.isEmpty {
            registry = try TokenRegistry(settings, id: ownID, value: value)
        } else {
            registry = try KeysRegistry(settings, id: ownID, value: value, loop: loop)
        }
    }

    /// Writes this member down, waits for the others; --initial-cluster, as they wrote it.
    func join() async throws(Failure) -> String {
        do throws(Failure) { return try await meet() } catch {
            advise(error)
            throw error
        }
    }

    private func meet() async throws(Failure) -> String {
        var seen = try await persistently("cluster status check") { try await self.registry.look() }
        if seen.place(of: ownID) == nil {
            if seen.isFull { throw .full }
            try await persistently("register member") { try await self.registry.register() }
            report("registered self with discovery service", [("self", ownID)], false)
            seen = try await persistently("cluster status check") { try await self.registry.look() }
        } else if !registry.placesAreKept {
            throw .duplicateID
        }
        try checkPlace(seen)
        report("found self from discovery server", [("self", ownID)], false)
        tell(seen)
        while !seen.isFull {
            let known = seen
            seen = try await persistently("wait for nodes") {
                try await self.registry.change(after: known)
                return try await self.registry.look()
            }
            // Or somebody took this member's key away: it is not to be part of the cluster.
            try checkPlace(seen)
            if seen.members != known.members { tell(seen) }
        }
        return try seen.cluster()
    }

    /// Others may have been quicker by a moment.
    private func checkPlace(_ seen: Seen) throws(Failure) {
        guard let place = seen.place(of: ownID), place < seen.size else { throw .full }
    }

    private func tell(_ seen: Seen) {
        if seen.isFull { return report("found all needed peers from discovery server", [("found-peers", "\(seen.size)")], false) }
        for member in seen.members where member.id != ownID {
            report("found peer from discovery server", [("peer", member.id), ("urls", member.text)], false)
        }
        report(
            "found peers from discovery server; waiting for more",
            [("found-peers", "\(seen.members.count)"), ("needed-peers", "\(seen.size - seen.members.count)")], false)
    }

    /// What to do about it, in etcd's words where they fit.
    private func advise(_ failure: Failure) {
        let token = ("discovery-token", settings.clusterToken)
        func say(_ message: String, _ fields: [(String, String)] = []) { report(message, fields, true) }
        switch failure {
        case .duplicateID:
            say("member has been registered with discovery service", [("name", name), token])
            say("check data dir if previous bootstrap succeeded")
            say("or use a new discovery token if previous bootstrap failed")
        case .duplicateName:
            say("member with duplicated name has already been registered", [token])
            say("do not reuse discovery token; generate a new one to bootstrap a cluster")
        case .full:
            if settings.fallsBackToProxy { say("discovery cluster is full, and there is no v2 proxy here to fall back to") }
            say("failed to bootstrap; discovery token was already used", [token])
            say("do not reuse discovery token; generate a new one to bootstrap a cluster")
        default: break
        }
    }

    /// Asks again until there is an answer.
    private func persistently<Answer: Sendable>(
        _ what: String, _ body: @Sendable () async throws -> Answer
    ) async throws(Failure) -> Answer {
        var pause: UInt64 = 2
        while true {
            do { return try await body() } catch let failure as Failure { throw failure } catch {
                if Task.isCancelled { throw .stopped }
                report(
                    "retry connecting to discovery service",
                    [("reason", what), ("backoff", "\(pause)s"), ("error", "\(error)")], true)
            }
            // A cancelled pause ends with the next attempt.
            try? await Task.sleep(nanoseconds: pause * 1_000_000_000)
            if Task.isCancelled { throw .stopped }
            pause = min(2 * pause, ClusterDiscovery.pauseSecondsMax)
        }
    }
}
