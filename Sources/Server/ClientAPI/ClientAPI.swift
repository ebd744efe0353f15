// The services a client reaches, by method. One table serves gRPC and the JSON gateway: a unary method is a function of
// (caller, message, reply), a stream method makes a `ServiceStream` for each call.

import Connections
import Foundations
import GRPC
import Linux
import MVCC
import State
import Wire

/// One end of a stream, whichever transport carries it.
package protocol StreamOutlet: AnyObject {
    /// Sends a message; the bytes that wait for the peer then. Nil when the stream is gone.
    func send(_ encode: (inout Bytes) -> Void) -> Int?
    func finish(_ status: GRPCStatus)
    func notifyWritable()
}

/// The service's end of a stream.
package protocol ServiceStream: AnyObject {
    func message(_ message: RawSpan)
    func halfClosed()
    func cancelled()
    func writable()
}

package final class ClientAPI {
    package typealias Unary = (Caller, RawSpan, Reply) -> Void
    package typealias Open = (Caller, any StreamOutlet) -> any ServiceStream

    package let member: Member
    package let server: GRPCServer
    package private(set) var unary: [String: Unary] = [:]
    package private(set) var streams: [String: Open] = [:]
    package let clientVersions = ClientVersions()
    let hasher: any PasswordHasher
    let passwords = Worker(name: "passwords")
    let scans = Worker(name: "scans")
    package private(set) var watchService: WatchService!
    package var isServing = true
    var healthStreams: [HealthStream] = []
    /// Keep-alive streams that wait for an expired lease to be revoked.
    var expiring: [LeaseID: [WeakKeepAlive]] = [:]
    private var leaderStreams: [WeakStream] = []
    private var leaderlessChecks = 0

    package init(member: Member, server: GRPCServer, hasher: any PasswordHasher) {
        self.member = member
        self.hasher = hasher
        self.server = server
        member.server = server
        watchService = WatchService(self)
        member.watches = watchService
        addKV()
        addLease()
        addCluster()
        addMaintenance()
        addAuth()
        addElection()
        addLock()
        addWatch()
        addHealth()
        route()
    }

    var state: StateMachine { member.state }

    // MARK: Registration

    func add(_ method: String, _ serve: @escaping Unary) { unary[method] = serve }

    func add(stream method: String, _ open: @escaping Open) { streams[method] = open }

    /// A unary method whose message is decoded first.
    func add<Message: WireMessage>(
        _ method: String, _ type: Message.Type, _ serve: @escaping (Caller, Message, Reply) throws(GRPCStatus) -> Void
    ) {
        unary[method] = { [unowned self] caller, bytes, reply in
            do throws(GRPCStatus) {
                try serve(caller, try decode(type, bytes), reply)
            } catch { member.respond(reply, .failure(error)) }
        }
    }

    func decode<Message: WireMessage>(_ type: Message.Type, _ bytes: RawSpan) throws(GRPCStatus) -> Message {
        do throws(WireError) { return try Message(decoding: bytes) } catch {
            throw EtcdError.undecodableRequest("\(error)")
        }
    }

    private func route() {
        for (method, serve) in unary.sorted(by: { $0.key < $1.key }) {
            let isForLearners = ClientAPI.learnerMethods.contains(method)
            server.router.unary(method) { [unowned self] context, message in
                let hasMetadata = !context.hasNoMetadata
                clientVersions.unary(context, hasMetadata: hasMetadata)
                let caller = !hasMetadata && context.peer.commonName == nil ? .plain : Caller(context)
                if isRestricted, let refusal = refusal(caller, method, message, isForLearners: isForLearners) {
                    return server.finish(context.call, refusal)
                }
                if caller.requiresLeader, !member.hasLeader { return server.finish(context.call, EtcdError.noLeader) }
                serve(caller, message, .call(context.call))
            }
        }
        for (method, open) in streams.sorted(by: { $0.key < $1.key }) {
            let isForLearners = ClientAPI.learnerMethods.contains(method)
            server.router.stream(method) { [unowned self] context in
                clientVersions.stream(context)
                let caller = Caller(context)
                let outlet = GRPCOutlet(server, context.call)
                if isRestricted, !isForLearners { return RefusedStream(outlet, EtcdError.notSupportedForLearner) }
                if caller.requiresLeader, !member.hasLeader { return RefusedStream(outlet, EtcdError.noLeader) }
                let stream = GRPCStream(caller, outlet, open)
                if caller.requiresLeader { leaderStreams.append(WeakStream(stream: stream, outlet: outlet)) }
                return stream
            }
        }
        watchLeader()
    }

    // MARK: Learners

    private static let learnerMethods: Set<String> = [
        "/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot",
    ]

    private var isRestricted: Bool { member.isLearner }

    /// A learner may be behind without anybody noticing: it answers only who asks for local data.
    private func refusal(_ caller: Caller, _ method: String, _ message: RawSpan, isForLearners: Bool) -> GRPCStatus? {
        guard isForLearners else { return EtcdError.notSupportedForLearner }
        guard method == "/etcdserverpb.KV/Range" else { return nil }
        guard let request = try? RangeRequestView(decoding: message), request.serializable else {
            return EtcdError.notSupportedForLearner
        }
        return nil
    }

    // MARK: Streams that ask for a leader

    /// They end when there has been none for three election timeouts.
    private func watchLeader() {
        member.loop.schedule(after: member.settings.electionTimeout) { [weak self] in
            guard let self, !member.isStopped else { return }
            leaderlessChecks = member.hasLeader ? 0 : leaderlessChecks + 1
            leaderStreams.removeAll { $0.stream == nil }
            if leaderlessChecks >= 3 {
                let ended = leaderStreams
                leaderStreams = []
                for entry in ended {
                    guard let stream = entry.stream else { continue }
                    stream.cancelled()
                    entry.outlet.finish(EtcdError.noLeader)
                }
            }
            watchLeader()
        }
    }

    // MARK: Callers

    /// Who the caller is. Throws when credentials are presented that are not known.
    func identify(_ caller: Caller) throws(GRPCStatus) -> Identity {
        guard state.auth.isEnabled, !caller.isInternal else { return .anonymous }
        if let token = caller.token {
            guard let identity = state.auth.identify(token: token, clock: state.clock) else { throw EtcdError.invalidAuthToken }
            return identity
        }
        if let name = caller.commonName, !caller.isGateway {
            return Identity(user: Bytes(name.utf8), authRevision: state.auth.revision)
        }
        return .anonymous
    }

    /// For requests that only the administrator may make.
    func requireAdmin(_ caller: Caller) throws(GRPCStatus) -> Identity {
        let identity = try identify(caller)
        try state.auth.checkAdmin(identity)
        return identity
    }

    func requireUser(_ caller: Caller) throws(GRPCStatus) {
        try state.auth.checkUser(try identify(caller))
    }

    /// The header of answers that are not made by applying an entry.
    func header(revision: Bool = true) -> ResponseHeader {
        var header = state.responseHeader
        if !revision { header.revision = 0 }
        return header
    }

    func answer(_ reply: Reply, _ message: some WireMessage) { member.respond(reply, .success(message.encoded())) }
}

extension Caller {
    init(_ context: CallContext) {
        self.init()
        commonName = context.peer.commonName
        if context.hasNoMetadata { return }
        token = (context.metadata("token") ?? context.metadata("authorization")).map(Caller.withoutBearer)
        requiresLeader = context.metadata("hasleader") == Bytes("true".utf8)
        isGateway = context.metadata("grpcgateway-accept") != nil
    }

    static func withoutBearer(_ value: Bytes) -> Bytes {
        value.starts(with: Array("Bearer ".utf8)) ? Bytes(value.dropFirst(7)) : value
    }
}

/// gRPC's end of a stream.
final class GRPCOutlet: StreamOutlet {
    private unowned let server: GRPCServer
    let call: Call

    init(_ server: GRPCServer, _ call: Call) {
        self.server = server
        self.call = call
    }

    func send(_ encode: (inout Bytes) -> Void) -> Int? { server.send(call, encode) }
    func finish(_ status: GRPCStatus) { server.finish(call, status) }
    func notifyWritable() { server.notifyWritable(call) }
}

private struct WeakStream {
    weak var stream: GRPCStream?
    let outlet: GRPCOutlet
}

/// Ends at the first event: the call is being handed over when it is made.
private final class RefusedStream: StreamHandler {
    private let outlet: GRPCOutlet
    private let status: GRPCStatus
    private var isOver = false

    init(_ outlet: GRPCOutlet, _ status: GRPCStatus) {
        self.outlet = outlet
        self.status = status
    }

    private func end() {
        guard !isOver else { return }
        isOver = true
        outlet.finish(status)
    }

    func message(_ message: RawSpan) { end() }
    func halfClosed() { end() }
    func cancelled() { isOver = true }
    func writable() {}
}

final class GRPCStream: StreamHandler {
    private let stream: any ServiceStream

    init(_ caller: Caller, _ outlet: GRPCOutlet, _ open: ClientAPI.Open) { stream = open(caller, outlet) }

    func message(_ message: RawSpan) { stream.message(message) }
    func halfClosed() { stream.halfClosed() }
    func cancelled() { stream.cancelled() }
    func writable() { stream.writable() }
}
