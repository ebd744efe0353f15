// The peer port: what other members ask of us. Peer protocol, section 3; the texts of errors are part of it.

import Connections
import FileFormats
import Foundations
import HTTP1
import Linux
import PeerWire
import Raft
import State

extension PeerTransport {
    /// Of a message posted to /raft.
    static let messageBytesMax = 512 << 20
    private static let pageBytesMax = 1 << 20

    var clusterHeader: [(name: String, value: String)] { [(PeerHeaders.Name.cluster, "\(identity.cluster)")] }

    /// A head has come. Answers at once, or returns who takes the body.
    func serve(_ request: HTTPRequest, _ call: Call) -> (any HTTPBodyReceiver)? {
        let path = request.path
        switch path {
        case "/raft":
            guard allow("POST", request, call), check(request, call, clusterHeader) else { return nil }
            return gather(call, max: PeerTransport.messageBytesMax) { [self] in posted($0, call) }
        case "/raft/snapshot":
            guard allow("POST", request, call), check(request, call, clusterHeader) else { return nil }
            return openSnapshot(request, call)
        case "/raft/probing":
            server.respond(
                call, status: 200, headers: [("Content-Type", "text/plain; charset=utf-8")],
                body: ProbeText.answer(Clock.wall()))
            return nil
        case _ where path.hasPrefix("/raft/stream/"):
            openStream(path, request, call)
            return nil
        default: return servePage(path, request, call)
        }
    }

    // MARK: Checks

    private func allow(_ method: String, _ request: HTTPRequest, _ call: Call, says: Bool = true) -> Bool {
        if request.method == method { return true }
        server.respond(call, .error(405, "Method Not Allowed"), says ? [("Allow", method)] : [])
        return false
    }

    /// Version and cluster; whoever passes and is not known is remembered, so that it can be answered.
    private func check(_ request: HTTPRequest, _ call: Call, _ headers: [(name: String, value: String)]) -> Bool {
        switch self.headers.check(request) {
        case .cut:
            server.abort(call)
            return false
        case .refused(let text):
            note("refused \(request.method) \(request.path): \(text)", request.header("x-server-from"))
            server.respond(call, .error(412, text), headers)
            return false
        case .good:
            if request.method == "POST" { noteSender(request) }
            return true
        }
    }

    private func noteSender(_ request: HTTPRequest) {
        guard let sender = PeerHeaders.sender(request), owner?.isRemoved(sender.id) == false else { return }
        addRemote(sender.id, urls: sender.urls)
    }

    private func gather(_ call: Call, max: Int, _ done: @escaping (Bytes) -> Void) -> any HTTPBodyReceiver {
        GatheredBody(max: max, done) { [self] in
            server.respond(call, .error(413, "request body is larger than \(max) bytes"), [])
        }
    }

    // MARK: Messages

    private func posted(_ body: Bytes, _ call: Call) {
        let message: Message
        do throws(PeerWireError) {
            message = try MessageCodec.decode(body.rawSpan)
        } catch .foreignKind {
            return server.respond(call, .error(500, "error processing raft message"), clusterHeader)
        } catch { return server.respond(call, .error(400, "error unmarshalling raft message"), clusterHeader) }
        peers[message.from]?.counters?.receivedBytes.increment(by: body.count)
        if let problem = problem(message) {
            let answer: PeerPageAnswer =
                problem == .removed ? .error(403, problem.text) : .error(500, "error processing raft message")
            return server.respond(call, answer, clusterHeader)
        }
        // A snapshot comes with its database, or not at all.
        guard message.kind != .snapshot else {
            return server.respond(call, .error(500, "error processing raft message"), clusterHeader)
        }
        deliver(message)
        server.respond(call, status: 204, headers: clusterHeader, body: [])
    }

    private func openSnapshot(_ request: HTTPRequest, _ call: Call) -> (any HTTPBodyReceiver)? {
        guard snapshotsUnderWay.count < SnapshotReceiver.concurrencyMax else {
            server.respond(call, .error(500, "failed to save KV snapshot (too many at once)"), clusterHeader)
            return nil
        }
        snapshotsSeen += 1
        let sink: any SnapshotSink
        if let store = settings.storePath, let trees = request.header("x-covey-image-trees").flatMap({ BoltTree.parse($0) }) {
            sink = SnapshotStore("\(store).incoming-\(snapshotsSeen)", trees)
        } else {
            sink = SnapshotFile("\(settings.snapshotDirectory)/tmp\(Clock.wall())-\(snapshotsSeen)")
        }
        let receiver = SnapshotReceiver(self, call, sink)
        snapshotsUnderWay[ObjectIdentifier(receiver)] = receiver
        return receiver
    }

    func snapshotEnded(_ receiver: SnapshotReceiver) { snapshotsUnderWay[ObjectIdentifier(receiver)] = nil }

    // MARK: Streams

    private func openStream(_ path: String, _ request: HTTPRequest, _ call: Call) {
        guard allow("GET", request, call) else { return }
        let own = [(name: PeerHeaders.Name.version, value: headers.versionText)] + clusterHeader
        guard check(request, call, own) else { return }
        func refuse(_ status: Int, _ text: String) { server.respond(call, .error(status, text), own) }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, let kind = StreamKind(rawValue: String(parts[3])) else { return refuse(404, "invalid path") }
        guard let id = MemberID(hexadecimal: parts[4]) else { return refuse(404, "invalid from") }
        if owner?.isRemoved(id) == true { return refuse(410, "removed member") }
        guard let peer = peers[id], !peer.isRemote else {
            noteSender(request)
            return refuse(404, "error sender not found")
        }
        guard request.header("x-raft-to") == "\(identity.member)" else { return refuse(412, "to field mismatch") }
        server.startEndless(call, status: 200, headers: own)
        peer.attach(kind, call)
    }

    // MARK: Pages

    private func servePage(_ path: String, _ request: HTTPRequest, _ call: Call) -> (any HTTPBodyReceiver)? {
        switch path {
        case "/members":
            if allow("GET", request, call) { ask(.members, call, clusterHeader) }
        case "/version":
            if allow("GET", request, call) { ask(.version, call, []) }
        case "/downgrade/enabled":
            guard allow("GET", request, call) else { return nil }
            // Where there is more than one voter the answer comes later: whoever takes the body holds the call.
            return gather(call, max: PeerTransport.pageBytesMax) { [self] _ in ask(.downgradeEnabled, call, clusterHeader) }
        case "/members/hashkv":
            guard allow("GET", request, call) else { return nil }
            if let cluster = request.header("x-etcd-cluster-id"), !cluster.isEmpty, cluster != "\(identity.cluster)" {
                server.respond(call, .error(412, PeerHeaders.otherCluster), clusterHeader)
                return nil
            }
            return gather(call, max: PeerTransport.pageBytesMax) { [self] in ask(.hashKV(body: $0), call, clusterHeader) }
        case "/leases":
            guard allow("POST", request, call, says: false) else { return nil }
            return gather(call, max: PeerTransport.pageBytesMax) { [self] in ask(.leaseKeepAlive(body: $0), call, []) }
        case "/leases/internal":
            guard allow("POST", request, call, says: false) else { return nil }
            return gather(call, max: PeerTransport.pageBytesMax) { [self] body in
                // Old members lose the connection over this; what they meant cannot be known.
                if body.isEmpty { return server.respond(call, .error(400, "error unmarshalling request"), []) }
                ask(.leaseTimeToLive(body: body), call, [])
            }
        case _ where path.hasPrefix("/members/promote/"):
            guard allow("POST", request, call) else { return nil }
            let text = String(path.dropFirst("/members/promote/".count))
            guard !text.hasPrefix("+"), let id = UInt64(text) else {
                server.respond(call, .error(404, "member \(text) not found in cluster"), clusterHeader)
                return nil
            }
            return gather(call, max: PeerTransport.pageBytesMax) { [self] _ in ask(.promote(MemberID(id)), call, clusterHeader) }
        default: server.respond(call, .error(404, "404 page not found"), [])
        }
        return nil
    }

    /// The owner answers in its own time; the member may be gone then.
    private func ask(_ page: PeerPage, _ call: Call, _ headers: [(name: String, value: String)]) {
        guard let owner else { return server.abort(call) }
        owner.page(page) { [weak self] in self?.server.respond(call, $0, headers) }
    }
}

extension GRPCServer {
    func respond(_ call: Call, _ answer: PeerPageAnswer, _ headers: [(name: String, value: String)]) {
        var all = [(name: "Content-Type", value: answer.contentType)]
        if answer.contentType == PeerPageAnswer.errorType { all.append(("X-Content-Type-Options", "nosniff")) }
        respond(call, status: answer.status, headers: all + headers, body: answer.body)
    }
}

/// A body of bounded size, gathered.
private final class GatheredBody: HTTPBodyReceiver {
    private var bytes: Bytes = []
    private let max: Int
    private var done: ((Bytes) -> Void)?
    private let tooLarge: () -> Void

    init(max: Int, _ done: @escaping (Bytes) -> Void, tooLarge: @escaping () -> Void) {
        self.max = max
        self.done = done
        self.tooLarge = tooLarge
    }

    func received(_ piece: RawSpan) {
        guard done != nil else { return }
        if bytes.count + piece.byteCount > max {
            done = nil
            bytes = []
            return tooLarge()
        }
        bytes.append(piece)
    }

    func ended() {
        let done = done
        self.done = nil
        done?(bytes)
    }

    func failed() {
        done = nil
        bytes = []
    }
}
