// One snapshot on its way to a member: the message, then the database, as the body of one POST. The database is read on
// another thread, a few pieces ahead of the socket, so that neither memory nor the loop feels its size.

import Connections
import FileFormats
import Foundations
import HTTP1
import Linux
import PeerWire
import Raft

final class SnapshotSender: HTTP1ResponseHandler, HTTP1BodySource {
    static let pieceBytes = 256 << 10
    static let piecesAhead = 8
    /// The member may take long to sync a large file before it answers.
    static let silenceMax: UInt64 = 300_000_000_000

    private unowned let peer: Peer
    private let database: any DatabaseSource
    private var prefix: Bytes
    private let origin: HTTPOrigin
    private var call: HTTP1ClientCall?
    private var pieces = Deque<Bytes>()
    private var isReading = false
    private var isComplete = false
    private var isBroken = false
    private var rest: Int
    private var status = 0
    private var text: Bytes = []
    private let startedAt: UInt64

    init(_ peer: Peer, _ message: Message, _ database: any DatabaseSource, _ origin: HTTPOrigin) {
        self.peer = peer
        self.database = database
        self.origin = origin
        rest = database.byteCount
        startedAt = peer.transport.loop.now
        prefix = []
        MessageStreamEncoder.append(message, to: &prefix)
    }

    func start() {
        var fields = peer.transport.headers.outgoing
        fields.append("Content-Type", "application/octet-stream")
        if let trees = database.trees { fields.append(PeerHeaders.Name.trees, BoltTree.text(trees)) }
        var request = HTTP1ClientRequest("POST", "/raft/snapshot", fields: fields, body: .source(self))
        request.usesPool = false
        request.silenceTimeout = SnapshotSender.silenceMax
        peer.counters?.snapshotSends.underWay.add(1)
        call = peer.transport.client.send(request, to: origin, self)
        read()
    }

    func stop() {
        call?.cancel()
        call = nil
        isBroken = true
        peer.counters?.snapshotSends.underWay.add(-1)
    }

    // MARK: The body

    func produce(into output: inout Bytes) -> HTTP1BodyProgress {
        if isBroken { return .failed }
        if !prefix.isEmpty {
            output.append(contentsOf: prefix)
            prefix = []
            return rest == 0 && isComplete ? .end : .more
        }
        if pieces.isEmpty { return isComplete ? .end : .wait }
        let piece = pieces.removeFirst()
        output.append(contentsOf: piece)
        peer.counters?.sentBytes.increment(by: piece.count)
        read()
        return pieces.isEmpty && isComplete ? .end : .more
    }

    /// Asks for more when little is left.
    private func read() {
        guard !isReading, !isComplete, !isBroken, pieces.count <= SnapshotSender.piecesAhead / 2 else { return }
        isReading = true
        let database = database
        let count = SnapshotSender.piecesAhead / 2
        peer.transport.scans.run(peer.transport.loop, { SnapshotSender.take(database, count) }) { [weak self] in
            self?.arrived($0)
        }
    }

    private static func take(_ database: any DatabaseSource, _ count: Int) -> Result<[Bytes], PeerFailure> {
        var pieces: [Bytes] = []
        do {
            while pieces.count < count, let piece = try database.next(pieceBytes) { pieces.append(piece) }
        } catch { return .failure(PeerFailure(description: "\(error)")) }
        return .success(pieces)
    }

    private func arrived(_ result: Result<[Bytes], PeerFailure>) {
        isReading = false
        guard call != nil else { return }
        switch result {
        case .failure(let error): problem = "reading the database: \(error)"
        case .success(let new):
            for piece in new {
                rest -= piece.count
                pieces.append(piece)
            }
            // A body that ends early or late would be taken for a whole database.
            if new.isEmpty { isComplete = true }
            if rest < 0 || (isComplete && rest > 0) { problem = "the database is not as long as it said" }
        }
        if problem != nil { isBroken = true }
        call?.bodyReady()
    }

    private var problem: String?

    // MARK: The answer

    func head(_ head: HTTPResponseHead) { status = head.status }
    func body(_ bytes: RawSpan) { if text.count < 4096 { text.append(bytes) } }

    func ended() {
        let line = String(decoding: text.prefix { $0 != 0x0a }, as: UTF8.self)
        finish(status == 204 ? nil : "POST /raft/snapshot: \(status) \(line)", removed: status == 403)
    }

    func failed(_ error: HTTPClientError) { finish(problem ?? "POST /raft/snapshot: \(error)") }

    private func finish(_ problem: String?, removed: Bool = false) {
        guard call != nil else { return }
        call = nil
        if let counters = peer.counters?.snapshotSends {
            counters.underWay.add(-1)
            if problem == nil {
                counters.successes.increment()
                counters.duration.observe(nanoseconds: peer.transport.loop.now - startedAt)
            } else {
                counters.failures.increment()
            }
        }
        if removed { peer.transport.removedByOthers(peer.id, problem ?? "") }
        if problem != nil { peer.urls.failed(origin) }
        peer.snapshotFinished(problem)
    }
}
