// One page of a server's HTTP side, fetched over a connection of its own. Blocks its thread, with a time-out: only for
// commands that need a page now and then.

import CoveyClient
import Flags
import Foundations
import Glibc
import HTTP1
import Linux
import TLSEngine

struct WebPage {
    private static let timeoutMilliseconds: Int32 = 5000

    private let descriptor: Int32
    private let tls: TLSSession?

    /// The body of `path` at an endpoint; nil when there is none to be had.
    static func read(_ endpoint: String, path: String, tls: ClientConfiguration.TLS?) async -> Bytes? {
        await withCheckedContinuation { continuation in
            BackgroundThread(name: "http") {
                continuation.resume(returning: fetch(endpoint, path: path, tls: tls))
            }.detach()
        }
    }

    private static func fetch(_ endpoint: String, path: String, tls: ClientConfiguration.TLS?) -> Bytes? {
        let isSecure = endpoint.hasPrefix("https://") || (!endpoint.contains("://") && tls != nil)
        let address = endpoint.firstRange(of: "://").map { String(endpoint[$0.upperBound...]) } ?? endpoint
        guard let (host, port) = HostPort.split(address) else { return nil }
        // Nil says it: whoever asked for the page says what it means that there is none.
        guard let resolved = try? SocketAddress.resolve(host: host, port: port).first,
            let descriptor = try? Socket.connect(resolved)
        else { return nil }
        defer { close(descriptor) }
        var session: TLSSession?
        if isSecure {
            let files = tls ?? ClientConfiguration.TLS()
            var configuration = TLSConfiguration.client(
                trustedCA: files.trustedCA, certificate: files.certificate, key: files.key,
                insecureSkipVerify: files.insecureSkipVerify)
            configuration.applicationProtocols = ["http/1.1"]
            guard let context = try? TLSContext(configuration) else { return nil }
            session = context.makeClientSession(host: host)
        }
        let request = "GET \(path) HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n"
        return WebPage(descriptor: descriptor, tls: session).exchange(Bytes(request.utf8))
    }

    private func exchange(_ request: Bytes) -> Bytes? {
        guard waits(for: POLLOUT), Socket.pendingError(descriptor) == 0 else { return nil }
        var outgoing: Bytes = []
        if let tls {
            tls.start(cipher: &outgoing)
        } else {
            outgoing = request
        }
        var parser = HTTPResponseParser()
        parser.limits.bodyBytesMax = 64 << 20
        var received: Bytes = []
        var position = 0
        var body: Bytes = []
        var sent = tls == nil
        var input = Bytes(repeating: 0, count: 65536)
        while true {
            guard send(&outgoing), waits(for: POLLIN) else { return nil }
            let count = unsafe input.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else {
                if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
                // The end of the connection may be the end of the body.
                return (try? parser.finish()) == nil ? nil : body
            }
            if let tls {
                guard tls.receive(input.rawSpan.extracting(0..<count), plain: &received, cipher: &outgoing) else { return nil }
                if tls.isEstablished && !sent {
                    sent = true
                    guard tls.seal(request.rawSpan, cipher: &outgoing) else { return nil }
                }
            } else {
                received += input[..<count]
            }
            do throws(HTTPError) {
                while let event = try parser.next(received.rawSpan, &position) {
                    switch event {
                    case .informational: break
                    case .head(let head): guard head.status == 200 else { return nil }
                    case .body(let range): body += received[range]
                    case .end: return body
                    }
                }
            } catch {
                return nil
            }
        }
    }

    private func send(_ outgoing: inout Bytes) -> Bool {
        var done = 0
        while done < outgoing.count {
            guard waits(for: POLLOUT) else { return false }
            let count = unsafe outgoing.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno != EINTR && errno != EAGAIN { return false }
            done += max(0, count)
        }
        outgoing = []
        return true
    }

    private func waits(for event: Int32) -> Bool {
        var wish = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        while true {
            let ready = unsafe poll(&wish, 1, Self.timeoutMilliseconds)
            if ready < 0 && errno == EINTR { continue }
            return ready > 0
        }
    }
}
