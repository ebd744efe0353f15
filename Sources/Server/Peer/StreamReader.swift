// A stream we opened with a member: GET /raft/stream/KIND/OURS, and then messages for us without end. When it breaks it is
// opened again, not more often than every 100 ms.

import Connections
import Foundations
import HTTP1
import Linux
import PeerWire
import Raft

final class StreamReader: HTTP1ResponseHandler {
    static let retryInterval: UInt64 = 100_000_000
    /// Members send a sign of life three times in this time.
    static let silenceMax: UInt64 = 5_000_000_000
    /// Of an error's text.
    private static let textBytesMax = 4096

    let kind: StreamKind
    private unowned let peer: Peer
    private var call: HTTP1ClientCall?
    private var origin: HTTPOrigin?
    private var lastAttempt: UInt64 = 0
    private var timer: TimerID?
    private var isStopped = false
    private var status = 0
    private var text: Bytes = []
    private var appends: AppendStreamDecoder
    private var messages = MessageStreamDecoder()
    private(set) var isConnected = false

    init(_ kind: StreamKind, _ peer: Peer) {
        self.kind = kind
        self.peer = peer
        appends = AppendStreamDecoder(from: peer.id, to: peer.transport.identity.member)
    }

    func start() {
        guard !isStopped, call == nil, timer == nil else { return }
        let loop = peer.transport.loop
        let now = Clock.monotonic()
        let next = lastAttempt + StreamReader.retryInterval
        if lastAttempt != 0 && next > now {
            timer = loop.schedule(after: next - now) { [weak self] in
                self?.timer = nil
                self?.dial(Clock.monotonic())
            }
        } else {
            dial(now)
        }
    }

    private func dial(_ now: UInt64) {
        guard !isStopped, let origin = peer.urls.current else { return }
        lastAttempt = now
        self.origin = origin
        status = 0
        text = []
        appends = AppendStreamDecoder(from: peer.id, to: peer.transport.identity.member)
        messages = MessageStreamDecoder()
        var fields = peer.transport.headers.outgoing
        fields.append(PeerHeaders.Name.to, "\(peer.id)")
        var request = HTTP1ClientRequest(
            "GET", "/raft/stream/\(kind.rawValue)/\(peer.transport.identity.member)", fields: fields)
        request.usesPool = false
        request.silenceTimeout = StreamReader.silenceMax
        call = peer.transport.client.send(request, to: origin, self)
    }

    /// The URLs changed: what is open goes on, what is being tried starts anew.
    func urlsChanged() {
        guard !isConnected else { return }
        call?.cancel()
        call = nil
        start()
    }

    func stop() {
        isStopped = true
        call?.cancel()
        call = nil
        if let timer { peer.transport.loop.cancel(timer) }
        timer = nil
        isConnected = false
    }

    // MARK: The answer

    func head(_ head: HTTPResponseHead) {
        status = head.status
        guard status == 200 else { return }
        guard PeerHeaders.streamVersion(head.fields) != nil else {
            call?.cancel()
            return broken("the member's version has no streams: \(head.fields[PeerHeaders.Name.version] ?? "none")")
        }
        isConnected = true
        peer.readerChanged(self, problem: nil)
    }

    func body(_ bytes: RawSpan) {
        guard status == 200 else {
            if text.count < StreamReader.textBytesMax { text.append(bytes) }
            return
        }
        peer.counters?.receivedBytes.increment(by: bytes.byteCount)
        do throws(PeerWireError) {
            switch kind {
            case .append: try appends.feed(bytes) { deliver($0) }
            case .message: try messages.feed(bytes, foreign: { passedOver($0) }) { deliver($0) }
            }
        } catch {
            if isStopped { return }
            peer.counters?.receivedFailures.increment()
            call?.cancel()
            broken("malformed message: \(error)")
        }
    }

    /// What the owner does with a message may stop us; the rest of the bytes is then nobody's.
    private func deliver(_ message: Message) {
        if !isStopped { peer.transport.deliver(message) }
    }

    private func passedOver(_ error: PeerWireError) {
        if !isStopped { peer.transport.note("passed over: \(error)", peer.id) }
    }

    func ended() {
        if status == 200 { return broken("the member closed the stream") }
        let line = String(decoding: text.prefix { $0 != 0x0a }, as: UTF8.self)
        if status == 410 { return peer.transport.removedByOthers(peer.id, line) }
        broken("\(status) \(line)")
    }

    func failed(_ error: HTTPClientError) {
        let url = origin
        broken("\(error)")
        if case .refused = error, let url, !isStopped { peer.refused(at: url) }
    }

    private func broken(_ reason: String) {
        call = nil
        isConnected = false
        guard !isStopped else { return }
        if let origin { peer.urls.failed(origin) }
        peer.readerChanged(self, problem: reason)
        start()
    }
}
