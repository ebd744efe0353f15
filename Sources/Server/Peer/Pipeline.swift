// Messages as single POSTs: while a member has no stream open with us (it has just started, or does not know us yet).

import Connections
import Foundations
import HTTP1
import Linux
import PeerWire
import Raft

final class Pipeline {
    static let queueMax = 64
    static let concurrencyMax = 4
    static let timeout: UInt64 = 10_000_000_000

    private unowned let peer: Peer
    private var queue = Deque<Message>()
    private var posts: [ObjectIdentifier: Post] = [:]
    private var isStopped = false

    init(_ peer: Peer) { self.peer = peer }

    /// False when the message is lost.
    func send(_ message: Message) -> Bool {
        guard !isStopped, queue.count < Pipeline.queueMax else { return false }
        queue.append(message)
        work()
        return true
    }

    private func work() {
        while posts.count < Pipeline.concurrencyMax, !queue.isEmpty, let origin = peer.urls.current {
            let post = Post(self, origin)
            posts[ObjectIdentifier(post)] = post
            let bytes = post.start(queue.removeFirst(), peer.transport)
            peer.counters?.sentBytes.increment(by: bytes)
        }
    }

    fileprivate func finished(_ post: Post, _ problem: String?, removed: Bool = false) {
        guard posts.removeValue(forKey: ObjectIdentifier(post)) != nil, !isStopped else { return }
        if removed { return peer.transport.removedByOthers(peer.id, problem ?? "") }
        if let problem {
            peer.urls.failed(post.origin)
            // What waits behind a failure would fail as well, and is of no use when the member is back.
            while !queue.isEmpty { queue.removeFirst() }
            peer.pipelineFailed(problem)
        } else {
            peer.pipelineWorked()
        }
        work()
    }

    func stop() {
        isStopped = true
        for post in posts.values { post.cancel() }
        posts = [:]
        queue = Deque()
    }

    fileprivate final class Post: HTTP1ResponseHandler {
        private weak var pipeline: Pipeline?
        let origin: HTTPOrigin
        private var call: HTTP1ClientCall?
        private var status = 0
        private var text: Bytes = []

        init(_ pipeline: Pipeline, _ origin: HTTPOrigin) {
            self.pipeline = pipeline
            self.origin = origin
        }

        func start(_ message: Message, _ transport: PeerTransport) -> Int {
            var body: Bytes = []
            body.reserveCapacity(MessageCodec.size(message))
            MessageCodec.append(message, to: &body)
            var fields = transport.headers.outgoing
            fields.append("Content-Type", "application/protobuf")
            var request = HTTP1ClientRequest("POST", "/raft", fields: fields, body: .bytes(body))
            request.timeout = Pipeline.timeout
            call = transport.client.send(request, to: origin, self)
            return body.count
        }

        func cancel() { call?.cancel() }
        func head(_ head: HTTPResponseHead) { status = head.status }
        func body(_ bytes: RawSpan) { if text.count < 4096 { text.append(bytes) } }

        func ended() {
            let line = String(decoding: text.prefix { $0 != 0x0a }, as: UTF8.self)
            pipeline?.finished(self, status == 204 ? nil : "POST /raft: \(status) \(line)", removed: status == 403)
        }

        func failed(_ error: HTTPClientError) { pipeline?.finished(self, "POST /raft: \(error)") }
    }
}
