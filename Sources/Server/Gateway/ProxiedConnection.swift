// Two sockets and the bytes between them. Each way has one buffer: it is filled when it is empty and the other side takes
// it, so that a slow reader stops the writer and nothing grows. The end of one side is passed on when its bytes are.

import CLinux
import Glibc
import Linux

/// Tells once how a connect that was begun has ended.
final class Connecting: EventHandler {
    private let loop: EventLoop
    private let descriptor: Int32
    private var registration: EventLoop.Registration?
    private let done: (SystemError?) -> Void

    static func wait(_ loop: EventLoop, _ descriptor: Int32, _ done: @escaping (SystemError?) -> Void) throws(SystemError) {
        let it = Connecting(loop, descriptor, done)
        it.registration = try loop.register(descriptor, readable: false, writable: true, it)
    }

    private init(_ loop: EventLoop, _ descriptor: Int32, _ done: @escaping (SystemError?) -> Void) {
        self.loop = loop
        self.descriptor = descriptor
        self.done = done
    }

    func ready(readable: Bool, writable: Bool) {
        if let registration { loop.deregister(registration) }
        registration = nil
        let code = Socket.pendingError(descriptor)
        done(code == 0 ? nil : SystemError("connect", code: code))
    }
}

final class ProxiedConnection {
    /// One socket, and what waits to be written to it.
    private final class Side: EventHandler {
        let descriptor: Int32
        var registration: EventLoop.Registration?
        var waiting: [UInt8] = []
        var written = 0
        var hasEnded = false
        var isShut = false
        /// Both sides hold the pair; the loop holds the sides until the pair closes.
        var pair: ProxiedConnection?

        init(_ descriptor: Int32) { self.descriptor = descriptor }

        func ready(readable: Bool, writable: Bool) { pair?.move() }
    }

    private static let pieceBytes = 65536
    private let loop: EventLoop
    private let sides: (Side, Side)

    static func start(_ loop: EventLoop, _ client: Int32, _ member: Int32) throws(SystemError) {
        let it = ProxiedConnection(loop, client, member)
        it.sides.0.registration = try loop.register(client, it.sides.0)
        do throws(SystemError) { it.sides.1.registration = try loop.register(member, it.sides.1) } catch {
            if let registration = it.sides.0.registration { loop.deregister(registration) }
            throw error
        }
        it.sides.0.pair = it
        it.sides.1.pair = it
    }

    private init(_ loop: EventLoop, _ client: Int32, _ member: Int32) {
        self.loop = loop
        sides = (Side(client), Side(member))
    }

    private func move() {
        guard pass(from: sides.0, to: sides.1), pass(from: sides.1, to: sides.0) else { return close() }
        if sides.0.isShut && sides.1.isShut { return close() }
        watch(sides.0, feeds: sides.1)
        watch(sides.1, feeds: sides.0)
    }

    private func watch(_ side: Side, feeds target: Side) {
        guard let registration = side.registration else { return }
        loop.change(registration, readable: !side.hasEnded && target.waiting.isEmpty, writable: !side.waiting.isEmpty)
    }

    /// False when the connection broke.
    private func pass(from source: Side, to target: Side) -> Bool {
        // A few pieces at most, so that one busy connection does not hold up the others.
        for _ in 0..<4 {
            guard flush(target) else { return false }
            guard target.waiting.isEmpty, !source.hasEnded else { break }
            guard let more = fill(target, from: source) else { return false }
            if !more { break }
        }
        guard flush(target) else { return false }
        if source.hasEnded && target.waiting.isEmpty && !target.isShut {
            target.isShut = true
            shutdown(target.descriptor, Int32(SHUT_WR))
        }
        return true
    }

    /// Whether bytes came; nil when the connection broke.
    private func fill(_ target: Side, from source: Side) -> Bool? {
        var got = 0
        target.waiting = unsafe [UInt8](unsafeUninitializedCapacity: Self.pieceBytes) { buffer, count in
            got = unsafe recv(source.descriptor, buffer.baseAddress, buffer.count, 0)
            count = max(0, got)
        }
        target.written = 0
        if got > 0 { return true }
        if got == 0 {
            source.hasEnded = true
            return false
        }
        return errno == EAGAIN || errno == EINTR ? false : nil
    }

    private func flush(_ target: Side) -> Bool {
        while target.written < target.waiting.count {
            let sent = unsafe target.waiting.withUnsafeBytes { bytes in
                unsafe send(
                    target.descriptor, bytes.baseAddress! + target.written, bytes.count - target.written,
                    Int32(MSG_NOSIGNAL))
            }
            if sent < 0 { return errno == EAGAIN || errno == EINTR }
            target.written += sent
        }
        target.waiting = []
        target.written = 0
        return true
    }

    private func close() {
        for side in [sides.0, sides.1] {
            guard let registration = side.registration else { continue }
            side.registration = nil
            loop.deregister(registration)
            Glibc.close(side.descriptor)
            side.pair = nil
        }
    }
}
