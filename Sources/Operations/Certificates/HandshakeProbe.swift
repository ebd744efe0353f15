// A handshake like any client's, to see which certificate a port shows and whether it takes ours. Blocks up to its limit, so
// it runs on threads that may wait.

import Foundations
import Glibc
import Linux
import PKI
import TLSEngine

struct HandshakeProbe: Sendable {
    /// What is shown, and whom it trusts.
    var trustedCA: String
    var certificate: String
    var key: String
    var limit: UInt64 = 3_000_000_000
    /// Where nothing else is spoken, at agents.
    var speaksHTTP2 = false
    /// False: only to see what is shown.
    var verifies = true

    struct Failure: Error, Equatable, CustomStringConvertible {
        var description: String
        /// The connection ended and nobody said why: no alert, no answer. Not what a refused certificate looks like.
        var isLost = false
    }

    /// One connection that is lost without a reason says nothing of certificates; three in a row are told.
    func shakePatiently(_ host: String, _ port: Int, name: String) throws(Failure) -> Certificate {
        for _ in 0..<2 {
            do throws(Failure) { return try shake(host, port, name: name, confirmed: true) } catch {
                if !error.isLost { throw error }
            }
        }
        return try shake(host, port, name: name, confirmed: true)
    }

    /// `name`: who must be there; `host` is what is dialled. With `confirmed` the other side has also taken our certificate:
    /// with TLS 1.3 that shows only in its first answer.
    func shake(_ host: String, _ port: Int, name: String, confirmed: Bool) throws(Failure) -> Certificate {
        var configuration = TLSConfiguration.client(
            trustedCA: trustedCA, certificate: certificate, key: key, insecureSkipVerify: !verifies)
        configuration.applicationProtocols = [speaksHTTP2 ? "h2" : "http/1.1"]
        let context: TLSContext
        do throws(TLSError) { context = try TLSContext(configuration) } catch { throw Failure(description: "\(error)") }
        let descriptor: Int32
        do throws(SystemError) {
            guard let address = try SocketAddress.resolve(host: host, port: String(port)).first else {
                throw SystemError("resolve", host, code: ENOENT)
            }
            descriptor = try Socket.connect(address)
        } catch { throw Failure(description: "\(error.reason)") }
        defer { close(descriptor) }
        var wire = Wire(descriptor: descriptor, end: Clock.monotonic() + limit)
        try wire.wait(POLLOUT)
        let problem = Socket.pendingError(descriptor)
        guard problem == 0 else { throw Failure(description: SystemError("connect", host, code: problem).reason) }
        let session = context.makeClientSession(host: name)
        session.start(cipher: &wire.cipher)
        while !session.isEstablished { try wire.exchange(session) }
        if confirmed {
            let request =
                speaksHTTP2
                ? Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + Self.emptySettings
                : Array("GET /version HTTP/1.1\r\nHost: \(name)\r\nConnection: close\r\n\r\n".utf8)
            guard session.seal(request.rawSpan, cipher: &wire.cipher) else {
                throw Failure(description: session.failure ?? "the connection ended")
            }
            while wire.plain.isEmpty { try wire.exchange(session) }
        }
        guard let shown = session.peerCertificate() else { throw Failure(description: "shows no certificate") }
        return shown
    }

    /// Length, type, flags, stream.
    private static let emptySettings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]

    private struct Wire {
        let descriptor: Int32
        let end: UInt64
        var cipher: [UInt8] = []
        var plain: [UInt8] = []
        private var buffer = [UInt8](repeating: 0, count: 16384)

        init(descriptor: Int32, end: UInt64) {
            self.descriptor = descriptor
            self.end = end
        }

        /// Sends what there is, then takes what comes.
        mutating func exchange(_ session: TLSSession) throws(Failure) {
            try send()
            try wait(POLLIN)
            let count = unsafe read(descriptor, &buffer, buffer.count)
            if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
            guard count > 0 else {
                throw count == 0
                    ? Failure(description: "the connection was closed", isLost: true)
                    : Failure(description: SystemError("read", "").reason)
            }
            let goesOn = session.receive(Array(buffer[..<count]).rawSpan, plain: &plain, cipher: &cipher)
            guard goesOn || !plain.isEmpty else {
                // The reason for the other side goes out, if it still listens.
                try send()
                throw Failure(description: session.failure ?? "the connection was closed")
            }
        }

        private mutating func send() throws(Failure) {
            var sent = 0
            while sent < cipher.count {
                try wait(POLLOUT)
                let count = unsafe cipher.withUnsafeBytes {
                    unsafe Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { throw Failure(description: SystemError("send", "").reason) }
                sent += count
            }
            cipher = []
        }

        func wait(_ events: Int32) throws(Failure) {
            let now = Clock.monotonic()
            var wish = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            guard now < end, unsafe poll(&wish, 1, Int32((end - now) / 1_000_000) + 1) == 1 else {
                throw Failure(description: "no answer in time")
            }
        }
    }
}
