// Small requests to other members: /members and /version at boot, promotion and leases asked of the leader, hashes.

import Connections
import Foundations
import HTTP1
import Linux
import TLSEngine

package struct PeerRequest: Sendable, Equatable {
    /// A member's URLs, tried in order until one answers.
    package var urls: [String]
    /// With leading slash.
    package var path: String
    package var method: String
    package var body: Bytes
    package var contentType: String?
    /// Sent along when set: later versions check it.
    package var cluster: ClusterID?
    /// Time for each URL.
    package var timeout: UInt64

    package init(
        _ urls: [String], _ path: String, method: String = "GET", body: Bytes = [], contentType: String? = nil,
        cluster: ClusterID? = nil, timeout: UInt64 = 5_000_000_000
    ) {
        self.urls = urls
        self.path = path
        self.method = method
        self.body = body
        self.contentType = contentType
        self.cluster = cluster
        self.timeout = timeout
    }
}

package struct PeerResponse: Sendable, Equatable {
    package var status: Int
    /// X-Etcd-Cluster-ID as sent, if it was.
    package var cluster: String?
    package var body: Bytes

    package init(status: Int, cluster: String?, body: Bytes) {
        self.status = status
        self.cluster = cluster
        self.body = body
    }

    /// An error's line without its newline.
    package var text: String {
        let text = String(decoding: body, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }
}

package struct PeerFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String
}

package typealias PeerResult = Result<PeerResponse, PeerFailure>

package enum PeerFetch {
    /// No answer of a member is longer.
    static let bodyBytesMax = 8 << 20

    /// Calls `done` once, on a later turn.
    static func start(_ request: PeerRequest, _ client: HTTP1Client, _ done: @escaping (PeerResult) -> Void) {
        Fetch(request, client, done).next(PeerFailure(description: "no usable URL in \(request.urls)"))
    }

    /// The same for a program that has no loop yet: blocks until there is a result.
    package static func wait(_ request: PeerRequest, tls: TLSContext? = nil) -> PeerResult {
        let loop: EventLoop
        do throws(SystemError) { loop = try EventLoop() } catch { return .failure(PeerFailure(description: "\(error)")) }
        let client = HTTP1Client(loop: loop, tls: tls, resolver: Resolver(loop))
        var result: PeerResult?
        start(request, client) {
            result = $0
            loop.stop()
        }
        loop.run()
        client.stop()
        guard let result else { unreachable("the loop ran until there was a result") }
        return result
    }

    private final class Fetch: HTTP1ResponseHandler {
        private let request: PeerRequest
        private let client: HTTP1Client
        private var origins: [HTTPOrigin]
        private var done: ((PeerResult) -> Void)?
        private var call: HTTP1ClientCall?
        private var response = PeerResponse(status: 0, cluster: nil, body: [])

        init(_ request: PeerRequest, _ client: HTTP1Client, _ done: @escaping (PeerResult) -> Void) {
            self.request = request
            self.client = client
            self.done = done
            origins = request.urls.compactMap { PeerURL.origin($0) }
        }

        func next(_ last: PeerFailure) {
            guard !origins.isEmpty else {
                client.loop.schedule(after: 0) { self.finish(.failure(last)) }
                return
            }
            let origin = origins.removeFirst()
            var fields = HTTPFields()
            if let type = request.contentType { fields.append("Content-Type", type) }
            if let cluster = request.cluster { fields.append(PeerHeaders.Name.cluster, "\(cluster)") }
            var http = HTTP1ClientRequest(
                request.method, request.path, fields: fields, body: request.body.isEmpty ? .none : .bytes(request.body))
            http.timeout = request.timeout
            // A promotion that was heard must not be asked for twice.
            http.usesPool = !request.path.hasPrefix("/members/promote/")
            call = client.send(http, to: origin, self)
        }

        func head(_ head: HTTPResponseHead) {
            response = PeerResponse(status: head.status, cluster: head.fields[PeerHeaders.Name.cluster], body: [])
        }

        func body(_ bytes: RawSpan) {
            guard response.body.count + bytes.byteCount <= PeerFetch.bodyBytesMax else {
                call?.cancel()
                return finish(.failure(PeerFailure(description: "\(request.path): the answer is too long")))
            }
            response.body.append(bytes)
        }

        func ended() { finish(.success(response)) }
        func failed(_ error: HTTPClientError) { next(PeerFailure(description: "\(error)")) }

        private func finish(_ result: PeerResult) {
            let done = done
            self.done = nil
            done?(result)
        }
    }
}
