// Raft messages between members, over etcd's own protocol (rafthttp), so that a cluster may mix Covey and etcd.
//
//     send(messages) -> stream the member opened with us  \
//                    -> else POST /raft (pipeline)         } the member -> its streams, POSTs -> owner.received
//     sendSnapshot   -> POST /raft/snapshot               /
//
// Belongs to one loop's thread, and must live until the loop has ended its run. Make it after whatever sends at the end of
// a turn has registered for that (`EventLoop.atEndOfTurn`): then what is sent leaves in the same turn.
//
// Bounds: 64 MiB wait for a member whose stream does not take them, 64 messages for one without streams, whatever is
// beyond is dropped and reported as unreachable; a member that is silent or takes nothing for five seconds is cut off.

import Connections
import FileFormats
import Foundations
import Glibc
import HTTP1
import Linux
import Raft
import TLSEngine
import Telemetry

package final class PeerTransport {
    package struct Settings: Sendable {
        /// Announced to other members; must agree with /version.
        package var serverVersion = "3.5.21"
        /// Our own advertised URLs: a member that does not know us yet answers there.
        package var peerURLs: [String] = []
        /// Where databases of snapshots are received: on the disk of the data directory.
        package var snapshotDirectory = ""
        /// Where stores are made of databases that can be used while they come: `PATH.incoming-N`. Nil: all become files.
        package var storePath: String?
        package var electionTimeout: UInt64 = 1_000_000_000
        /// Do not match the certificates of members that dial us against the address they come from.
        package var skipsAddressCheck = false
        package var metrics: NetworkFamilies?

        package init() {}
    }

    /// Senders who are no members are kept to be answered; there is no reason for many.
    static let remotesMax = 64
    /// Three in the time after which silence is taken for death.
    private static let heartbeatInterval: UInt64 = 1_666_000_000

    package let loop: EventLoop
    package let identity: LogIdentity
    let settings: Settings
    /// The peer port. gRPC services may be registered with its router before `listen`, to be served there too.
    package let server: GRPCServer
    package var router: GRPCRouter { server.router }
    /// For the log.
    package var report: (String, [(String, String)]) -> Void = { _, _ in }

    let headers: PeerHeaders
    let client: HTTP1Client
    weak var owner: (any PeerTransportOwner)?
    private let tlsServer: TLSContext?
    private let resolver: Resolver
    private var listeners: [Listener] = []
    var peers: [MemberID: Peer] = [:]
    private var heartbeats: TimerID?
    package private(set) var isStopped = false

    private var unreachables: [MemberID] = []
    private var removalReported = false
    /// What was said last, and when: see `note`.
    private var notes: [String: UInt64] = [:]
    private static let noteInterval: UInt64 = 30_000_000_000
    private static let notesMax = 256

    /// Made when the first snapshot needs them.
    lazy var scans = Worker(name: "peer-scan")
    lazy var disk = Worker(name: "peer-disk")
    var snapshotsUnderWay: [ObjectIdentifier: SnapshotReceiver] = [:]
    var snapshotsSeen = 0
    /// For tests: the most that was handed to the disk and not written.
    package var largestSnapshotAhead = 0

    package init(
        loop: EventLoop, identity: LogIdentity, settings: Settings, tlsServer: TLSContext? = nil,
        tlsClient: TLSContext? = nil, owner: any PeerTransportOwner
    ) {
        self.loop = loop
        self.identity = identity
        self.settings = settings
        self.tlsServer = tlsServer
        self.owner = owner
        headers = PeerHeaders(identity, version: settings.serverVersion, urls: settings.peerURLs)
        resolver = Resolver(loop)
        var clientLimits = HTTP1Client.Limits()
        clientLimits.connectTimeout = 1_000_000_000 + settings.electionTimeout
        client = HTTP1Client(loop: loop, tls: tlsClient, resolver: resolver, limits: clientLimits)
        var limits = GRPCServer.Limits()
        limits.headTimeout = 5_000_000_000
        limits.idleTimeout = 5_000_000_000
        limits.writeTimeout = 5_000_000_000
        server = GRPCServer(loop: loop, router: GRPCRouter(), limits: limits)
        server.router.httpBodies = { [unowned self] request, call, _ in serve(request, call) }
        server.observeRejection = { [weak self] address, name, reason in
            self?.report(
                "rejected connection on peer endpoint", [("remote-addr", address), ("server-name", name), ("error", reason)])
        }
        scheduleHeartbeats()
    }

    // MARK: Members

    /// The addresses that are listened at: a port of zero is a random one.
    @discardableResult
    package func listen(_ url: String) throws(SystemError) -> [SocketAddress] {
        guard let target = ListenURL(url) else { throw SystemError("parse URL", url, code: EINVAL) }
        let tls = target.isSecure ? tlsServer : nil
        if target.isSecure && tls == nil { throw SystemError("listen without certificates", url, code: EINVAL) }
        for address in try target.addresses() {
            let listener = try Listener(
                address, loop: loop, report: { [weak self] in self?.report($0, []) },
                accepted: { [weak self] in self?.accept($0, tls) })
            listeners.append(listener)
        }
        return listeners.map(\.address)
    }

    private func accept(_ descriptor: Int32, _ tls: TLSContext?) {
        let isPlain = server.router.paths.isEmpty
        guard let tls else { return server.add(descriptor, httpOnly: isPlain) }
        let session = tls.makeServerSession()
        let remote = Socket.peer(descriptor)?.host ?? ""
        server.add(
            descriptor, tls: session, httpOnly: isPlain,
            admission: settings.skipsAddressCheck ? nil : { [weak self] in self?.admit(session, remote, $0) })
    }

    /// A member's certificate must fit the address it comes from. Names are resolved on another thread; addresses in the
    /// certificate need that not.
    private func admit(_ session: TLSSession, _ remote: String, _ decide: @escaping (Bool) -> Void) {
        guard let peer = session.peer() else { return decide(true) }
        let judged: (Bool) -> Void = { [weak self] isAccepted in
            if !isAccepted { self?.note("refused \(remote): its certificate does not fit this address", nil as String?) }
            decide(isAccepted)
        }
        if let accepted = PeerAddressRule.acceptsWithoutNames(peer, remoteHost: remote) { return judged(accepted) }
        resolver.run({ PeerAddressRule.accepts(peer, remoteHost: remote) }, judged)
    }

    /// Adds a member, or changes its URLs.
    package func setPeer(_ id: MemberID, urls: [String]) {
        guard !isStopped, id != identity.member else { return }
        if let peer = peers[id], !peer.isRemote { return peer.update(urls) }
        peers[id]?.stop()
        peers[id] = Peer(id, urls: urls, isRemote: false, self)
    }

    package func removePeer(_ id: MemberID) { peers.removeValue(forKey: id)?.stop() }

    /// Somebody who may have to be answered before it is known as a member: those a joiner learnt of at boot.
    package func addRemote(_ id: MemberID, urls: [String]) {
        guard !isStopped, id != identity.member else { return }
        if let known = peers[id] {
            if known.isRemote { known.update(urls) }
            return
        }
        guard peers.values.lazy.filter({ $0.isRemote }).count < PeerTransport.remotesMax else { return }
        peers[id] = Peer(id, urls: urls, isRemote: true, self)
    }

    /// Monotonic time since which the member has been connected without a break; nil when it is not.
    package func activeSince(_ id: MemberID) -> UInt64? { peers[id]?.activeSince }

    /// Streams the member has open with us, two when all is well. While there are none, messages go as single POSTs.
    package func streamCount(to id: MemberID) -> Int { peers[id]?.streamCount ?? 0 }

    // MARK: Sending

    /// Queues messages; they leave with `flush`, or at the end of the turn. Never a snapshot.
    package func send(_ messages: [Message]) {
        guard !isStopped else { return }
        for message in messages {
            // Nobody is told of messages to those who are not there: consensus will learn of the change that removed them.
            guard let peer = peers[message.to], owner?.isRemoved(message.to) == false else { continue }
            peer.send(message)
        }
    }

    /// Writes what is queued now: before a sync that would hold it up.
    package func flush() { if !isStopped { server.flush() } }

    /// `owner.snapshotSent` tells the end, in any case.
    package func sendSnapshot(_ message: Message, database: any DatabaseSource) {
        invariant(message.kind == .snapshot && message.snapshot != nil, "a snapshot to \(message.to)")
        guard !isStopped else { return }
        guard let peer = peers[message.to] else { return reportSnapshot(message.to, ok: false) }
        peer.sendSnapshot(message, database)
    }

    /// A small request to a peer URL of a member: promotion, leases, hashes.
    package func fetch(_ request: PeerRequest, _ done: @escaping (PeerResult) -> Void) {
        PeerFetch.start(request, client, done)
    }

    private func scheduleHeartbeats() {
        heartbeats = loop.schedule(after: PeerTransport.heartbeatInterval) { [weak self] in
            guard let self, !isStopped else { return }
            for peer in peers.values { peer.heartbeat() }
            scheduleHeartbeats()
        }
    }

    // MARK: To the owner

    enum Problem: Equatable {
        case removed, notForUs, fromNobody

        var text: String {
            switch self {
            case .removed: "cannot process message from removed member"
            case .notForUs: "message is for another member"
            case .fromNobody: "message is from nobody"
            }
        }
    }

    /// Why consensus must not see a message.
    func problem(_ message: Message) -> Problem? {
        if message.from == .none { return .fromNobody }
        if message.to != identity.member { return .notForUs }
        return owner?.isRemoved(message.from) == true ? .removed : nil
    }

    /// From a stream or a POST.
    func deliver(_ message: Message) {
        guard !isStopped else { return }
        if message.kind == .snapshot { return note("a snapshot without its database", message.from) }
        if let problem = problem(message) { return note("message dropped: \(problem.text)", message.from) }
        owner?.received(message)
    }

    func handOver(_ message: Message, _ database: ReceivedDatabase) { owner?.receivedSnapshot(message, database) }

    /// Told on a later turn, once for all that was lost in this one.
    func reportUnreachable(_ id: MemberID) {
        if unreachables.isEmpty {
            loop.schedule(after: 0) { [weak self] in
                guard let self else { return }
                let all = unreachables
                unreachables = []
                for id in all where !isStopped { owner?.unreachable(id) }
            }
        }
        if !unreachables.contains(id) { unreachables.append(id) }
    }

    func reportGone(_ id: MemberID) {
        loop.schedule(after: 0) { [weak self] in
            if let self, !isStopped { owner?.gone(id) }
        }
    }

    func reportSnapshot(_ id: MemberID, ok: Bool) {
        loop.schedule(after: 0) { [weak self] in
            if let self, !isStopped { owner?.snapshotSent(to: id, ok: ok) }
        }
    }

    func removedByOthers(_ id: MemberID, _ text: String) {
        note("this member was removed from the cluster: \(text)", id)
        guard !removalReported else { return }
        removalReported = true
        loop.schedule(after: 0) { [weak self] in
            guard let self, !isStopped else { return }
            owner?.selfRemoved("the member has been permanently removed from the cluster")
        }
    }

    // MARK: The log

    func note(_ text: String, _ id: MemberID?) { note(text, id.map { "\($0)" }) }

    /// Says the same thing once, and again after half a minute: what goes wrong between members goes wrong ten times a
    /// second.
    func note(_ text: String, _ id: String?) {
        let key = "\(id ?? "") \(text)"
        if let last = notes[key], loop.now < last + PeerTransport.noteInterval { return }
        if notes.count >= PeerTransport.notesMax { notes = [:] }
        notes[key] = loop.now
        report(text, id.map { [("remote-peer-id", $0)] } ?? [])
    }

    /// Closes everything. No owner method is called afterwards.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        if let heartbeats { loop.cancel(heartbeats) }
        for listener in listeners { listener.stop() }
        listeners = []
        for peer in peers.values { peer.stop() }
        peers = [:]
        client.stop()
        server.closeAll()
    }
}
