// Which certificate a member shows, by a handshake like any client's.

import Foundations
import Glibc
import Linux
import PKI
import TLSEngine

struct ServerCertificateProbe: Sendable {
    let folder: StateFolder

    /// Hexadecimal; nil when there is no handshake within two seconds. Blocks so long.
    func serial(_ host: String, _ port: Int) -> String? {
        certificate(host, port).map { Hexadecimal.encode($0.serial) }
    }

    func certificate(_ host: String, _ port: Int) -> Certificate? {
        let configuration = TLSConfiguration.client(
            trustedCA: folder.client + "/ca.crt", certificate: folder.client + "/client.crt",
            key: folder.client + "/client.key")
        // Whatever stands in the way, the certificate has not been seen.
        guard let context = try? TLSContext(configuration),
            let address = try? SocketAddress.resolve(host: host, port: String(port)).first,
            let descriptor = try? Socket.connect(address)
        else { return nil }
        defer { close(descriptor) }
        let session = context.makeClientSession(host: host)
        let end = Clock.monotonic() + 2_000_000_000
        guard ready(descriptor, POLLOUT, end) else { return nil }
        var cipher: [UInt8] = []
        var plain: [UInt8] = []
        session.start(cipher: &cipher)
        var buffer = [UInt8](repeating: 0, count: 16384)
        while !session.isEstablished {
            var sent = 0
            while sent < cipher.count {
                guard ready(descriptor, POLLOUT, end) else { return nil }
                let count = unsafe cipher.withUnsafeBytes {
                    unsafe send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return nil }
                sent += count
            }
            cipher = []
            guard ready(descriptor, POLLIN, end) else { return nil }
            let count = unsafe read(descriptor, &buffer, buffer.count)
            guard count > 0, session.receive(Array(buffer[..<count]).rawSpan, plain: &plain, cipher: &cipher) else {
                return nil
            }
        }
        return session.peerCertificate()
    }

    private func ready(_ descriptor: Int32, _ events: Int32, _ end: UInt64) -> Bool {
        let now = Clock.monotonic()
        guard now < end else { return false }
        var wish = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        return unsafe poll(&wish, 1, Int32((end - now) / 1_000_000) + 1) == 1
    }
}
