// Requests as they are written, right or wrong, and what comes back to the byte.

import Connections
import Foundations
import Glibc
import HTTP1
import Linux
import Server

final class RawConnection: EventHandler {
    private let loop: EventLoop
    private let descriptor: Int32
    private var registration: EventLoop.Registration?
    private var pending: Bytes
    private(set) var answer: Bytes = []
    private(set) var isClosed = false

    init(_ loop: EventLoop, port: Int, _ bytes: Bytes) {
        self.loop = loop
        pending = bytes
        let address = try? SocketAddress.resolve(host: "127.0.0.1", port: "\(port)")[0]
        descriptor = address.flatMap { try? Socket.connect($0) } ?? -1
        registration = try? loop.register(descriptor, readable: true, writable: true, self)
    }

    var text: String { String(decoding: answer, as: UTF8.self) }

    func ready(readable: Bool, writable: Bool) {
        if writable && !pending.isEmpty {
            let count = send(descriptor, pending, pending.count, Int32(MSG_NOSIGNAL))
            if count > 0 { pending.removeFirst(count) }
        }
        if let registration { loop.change(registration, readable: true, writable: !pending.isEmpty) }
        guard readable else { return }
        var room = Bytes(repeating: 0, count: 65536)
        let count = read(descriptor, &room, room.count)
        if count > 0 { answer += room[..<count] } else if count == 0 || errno != EAGAIN { close() }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        if let registration { loop.deregister(registration) }
        Glibc.close(descriptor)
    }
}

/// A POST with the headers of a member, whatever its body.
final class RawPost {
    private let connection: RawConnection
    private let loop: EventLoop

    init(_ loop: EventLoop, port: Int, path: String, cluster: String, body: Bytes) {
        self.loop = loop
        let head =
            "POST \(path) HTTP/1.1\r\nHost: x\r\nX-Etcd-Cluster-Id: \(cluster)\r\nX-Server-Version: 3.5.1\r\n"
            + "X-Min-Cluster-Version: 3.0.0\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\r\n"
        connection = RawConnection(loop, port: port, Bytes(head.utf8) + body)
    }

    func start(_ done: @escaping (PeerResult) -> Void) {
        guard connection.isClosed else {
            loop.schedule(after: 2_000_000) { self.start(done) }
            return
        }
        let status = connection.text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        let body = connection.text.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false).last ?? ""
        done(.success(PeerResponse(status: status, cluster: nil, body: Bytes(body.utf8))))
    }
}
