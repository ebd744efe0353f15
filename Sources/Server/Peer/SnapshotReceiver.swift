// POST /raft/snapshot: length, message, and the database to the end of the body, which goes to the disk as it comes: into a
// file, or straight into a store. When the disk is slower than the network, the network waits.

import Connections
import Foundations
import HTTP1
import Linux
import PeerWire
import Raft

final class SnapshotReceiver: HTTPBodyReceiver {
    /// Of the message; a snapshot's carries the membership.
    static let messageBytesMax = 64 << 20
    /// At once, over all members.
    static let concurrencyMax = 4
    /// Bytes handed to the disk and not written: reading stops above the one and goes on below the other.
    static let aheadMax = 8 << 20
    static let aheadLow = 2 << 20

    private unowned let transport: PeerTransport
    private let call: Call
    private let sink: any SnapshotSink
    private var prefix: Bytes = []
    private var message: Message?
    private var counters: PeerCounters.SnapshotCounters?
    private let startedAt: UInt64
    private var ahead = 0
    private var isPaused = false
    private var isOver = false
    private var hasWritten = false
    /// Pieces are gathered to this size before the disk is bothered.
    private var piece: Bytes = []
    private static let pieceBytes = 256 << 10

    init(_ transport: PeerTransport, _ call: Call, _ sink: any SnapshotSink) {
        self.transport = transport
        self.call = call
        self.sink = sink
        startedAt = transport.loop.now
    }

    func received(_ bytes: RawSpan) {
        guard !isOver else { return }
        var start = 0
        if message == nil {
            start = takePrefix(bytes)
            guard message != nil else { return }
        }
        piece.append(bytes.extracting(start..<bytes.byteCount))
        if piece.count >= SnapshotReceiver.pieceBytes { write() }
    }

    /// How much of the bytes belongs to length and message.
    private func takePrefix(_ bytes: RawSpan) -> Int {
        var at = 0
        while message == nil && !isOver && at < bytes.byteCount {
            let need = prefix.count < 8 ? 8 : 8 + messageLength
            let count = min(need - prefix.count, bytes.byteCount - at)
            prefix.append(bytes.extracting(at..<at + count))
            at += count
            if prefix.count == 8 && messageLength > SnapshotReceiver.messageBytesMax {
                refuse(400, "failed to decode raft message (snapshot: message of \(messageLength) bytes is too long)")
            } else if prefix.count >= 8 && prefix.count == 8 + messageLength {
                decode()
            }
        }
        return at
    }

    private var messageLength: Int { prefix.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }.clampedToInt }

    private func decode() {
        let message: Message
        let prefix = prefix
        do throws(PeerWireError) {
            message = try MessageCodec.decode(prefix.rawSpan.extracting(8..<prefix.count))
        } catch .foreignKind {
            return refuse(400, "wrong raft message type")
        } catch { return refuse(400, "failed to decode raft message (\(error))") }
        self.prefix = []
        guard message.kind == .snapshot else { return refuse(400, "wrong raft message type") }
        if let problem = transport.problem(message) {
            return refuse(problem == .removed ? 403 : 500, "failed to process raft message (\(problem.text))")
        }
        self.message = message
        counters = transport.settings.metrics.map { PeerCounters.receiving($0, from: message.from) }
        counters?.underWay.add(1)
        transport.report(
            "receiving database snapshot",
            [("remote-snapshot-sender-id", "\(message.from)"), ("snapshot-index", "\(message.snapshot?.metadata.index ?? 0)")])
    }

    // MARK: To the disk

    private func write() {
        let bytes = piece
        piece = []
        guard !bytes.isEmpty else { return }
        ahead += bytes.count
        hasWritten = true
        if ahead > SnapshotReceiver.aheadMax && !isPaused {
            isPaused = true
            transport.server.pauseBody(call, true)
        }
        transport.largestSnapshotAhead = max(transport.largestSnapshotAhead, ahead)
        onDisk({ sink throws(PeerFailure) in try sink.write(bytes) }) { [self] problem in
            ahead -= bytes.count
            if let problem { return refuse(500, "failed to save KV snapshot (\(problem))") }
            if isPaused && ahead < SnapshotReceiver.aheadLow {
                isPaused = false
                transport.server.pauseBody(call, false)
            }
        }
    }

    func ended() {
        guard !isOver else { return }
        guard let message else { return refuse(400, "failed to decode raft message (unexpected EOF)") }
        write()
        onDisk({ sink throws(PeerFailure) in try sink.finish() }) { [self] problem in
            if isOver { return }
            if let problem { return refuse(500, "failed to save KV snapshot (\(problem))") }
            end()
            counters?.successes.increment()
            counters?.duration.observe(nanoseconds: transport.loop.now - startedAt)
            transport.handOver(message, sink.result)
            transport.server.respond(call, status: 204, headers: transport.clusterHeader, body: [])
        }
    }

    /// Runs on the disk's thread, in order; the rest on the loop, unless the transport has stopped.
    private func onDisk(
        _ work: @escaping @Sendable (any SnapshotSink) throws(PeerFailure) -> Void, _ done: @escaping (PeerFailure?) -> Void
    ) {
        let sink = sink
        transport.disk.run(
            transport.loop,
            { () -> PeerFailure? in
                do throws(PeerFailure) { try work(sink) } catch { return error }
                return nil
            }
        ) { [weak transport] problem in
            if transport?.isStopped == false { done(problem) }
        }
    }

    // MARK: The end

    private func refuse(_ status: Int, _ text: String) {
        guard !isOver else { return }
        drop()
        transport.note("snapshot refused: \(text)", message?.from)
        transport.server.respond(call, .error(status, text), transport.clusterHeader)
    }

    func failed() {
        guard !isOver else { return }
        drop()
        transport.note("the sender of a snapshot broke off", message?.from)
    }

    private func drop() {
        end()
        counters?.failures.increment()
        piece = []
        if hasWritten {
            let sink = sink
            transport.disk.run(transport.loop, { sink.remove() }) {}
        }
    }

    private func end() {
        isOver = true
        counters?.underWay.add(-1)
        transport.snapshotEnded(self)
    }
}

extension UInt64 {
    fileprivate var clampedToInt: Int { Int(clamping: self) - (self > UInt64(Int.max - 8) ? 8 : 0) }
}
