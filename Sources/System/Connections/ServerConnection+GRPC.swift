// gRPC on an HTTP/2 connection: heads to routes, body bytes to messages, answers to frames.

import Foundations
import GRPC
import HTTP1
import HTTP2Engine
import Linux

/// Routes below zero.
private let routeUnanswerable: Int32 = -1
private let routeHTTP: Int32 = -2

/// What a stream's slot holds on to while the call lives.
private final class CallObjects {
    var handler: (any StreamHandler)?
    var observer: (any CallObserver)?
    var deadline: UInt64 = 0
}

extension ServerConnection: ServerSessionOwner {
    func call(_ slot: Int, _ session: ServerSession) -> Call {
        Call(connection: index, slot: Int32(slot), serial: session.withStream(slot) { $0.serial })
    }

    func isCurrent(_ call: Call) -> Bool {
        switch wire {
        case .http2(let session): session.isCurrent(Int(call.slot), call.serial)
        case .http1(let exchange): exchange.isCurrent(call)
        case .unknown: false
        }
    }

    // MARK: Requests

    func requestStarted(_ slot: Int) {
        guard let session else { return }
        let isGRPC = session.withStream(slot) { $0.contentType.starts(with: Array("application/grpc".utf8)) }
        if !isGRPC {
            startHTTP(slot, session)
            return
        }
        let call = call(slot, session)
        var route = routeUnanswerable
        var timeout: Int64?
        var badTimeout: String?
        session.withStream(slot) { stream in
            route = server.router.find(stream.path) ?? routeUnanswerable
            stream.route = route
            if !stream.timeout.isEmpty {
                timeout = GRPCTimeout.parse(stream.timeout)
                if timeout == nil { badTimeout = String(decoding: stream.timeout, as: UTF8.self) }
            }
        }
        guard allowsGRPC else { return finish(call, GRPCStatus(.unimplemented, "this listener serves no gRPC")) }
        guard route >= 0 else { return finish(call, server.router.unknown(session.withStream(slot) { $0.path })) }
        server.observeStart?(route)
        if let badTimeout { return finish(call, GRPCTimeout.malformed(badTimeout)) }
        if session.withStream(slot, { $0.method != Array("POST".utf8) }) {
            return finish(call, GRPCStatus(.internal, "the method of a call must be POST"))
        }
        var deadline: UInt64 = 0
        if let timeout {
            deadline = server.loop.now &+ UInt64(max(timeout, 1))
            let objects = objects(slot, session)
            objects.deadline = deadline
            server.noteDeadline(deadline)
        }
        if case .stream(let open) = server.router.handlers[Int(route)].handler {
            let context = CallContext(call: call, peer: peer, deadline: deadline, session: session)
            let handler = open(context)
            if session.isCurrent(slot, call.serial) { objects(slot, session).handler = handler }
        }
    }

    func requestBody(_ slot: Int, _ bytes: RawSpan) {
        guard let session else { return }
        let route = session.withStream(slot) {
            $0.trailers == nil && !$0.headSent || $0.route >= 0 ? $0.route : routeUnanswerable
        }
        session.consume(slot, bytes.byteCount)
        if route == routeHTTP {
            let size = session.withStream(slot) { stream in
                stream.inbound.append(bytes)
                return stream.inbound.count
            }
            if size > server.limits.bodyBytesMax { session.resetStream(slot, 11) }
            return
        }
        guard route >= 0 else { return }
        messages(slot, session, route, bytes)
    }

    /// Cuts body bytes into messages. Whole messages are handed over where they lie; only a message that is cut by the
    /// transport is gathered.
    private func messages(_ slot: Int, _ session: ServerSession, _ route: Int32, _ bytes: RawSpan) {
        let serial = session.withStream(slot) { $0.serial }
        var at = 0
        while at < bytes.byteCount && session.isCurrent(slot, serial) {
            let gathered = session.withStream(slot) { $0.inbound.count }
            if gathered == 0 && bytes.byteCount - at >= 5 {
                let length = Int(bigEndian(bytes, at + 1))
                guard accepts(slot, session, flag: bytes[byte: at], length: length) else { return }
                if bytes.byteCount - at >= 5 + length {
                    deliver(slot, session, route, bytes.extracting((at + 5)..<(at + 5 + length)))
                    at += 5 + length
                    continue
                }
            }
            at += gather(slot, session, bytes, from: at)
            let whole: [UInt8]? = session.withStream(slot) { stream in
                guard stream.inbound.count >= 5 else { return nil }
                let length = Int(bigEndian(stream.inbound.rawSpan, 1))
                guard stream.inbound.count == 5 + length else { return nil }
                let whole = stream.inbound
                stream.inbound = []
                return whole
            }
            if let whole {
                deliver(slot, session, route, whole.rawSpan.extracting(5..<whole.count))
            } else if session.withStream(slot, { $0.inbound.count == 5 }) {
                let head = session.withStream(slot) { $0.inbound }
                guard accepts(slot, session, flag: head[0], length: Int(bigEndian(head.rawSpan, 1))) else { return }
            }
        }
    }

    /// Takes as much as the current message still needs: its five bytes first, then its body.
    private func gather(_ slot: Int, _ session: ServerSession, _ bytes: RawSpan, from at: Int) -> Int {
        session.withStream(slot) { stream in
            let have = stream.inbound.count
            let want = have < 5 ? 5 - have : 5 + Int(bigEndian(stream.inbound.rawSpan, 1)) - have
            let count = min(want, bytes.byteCount - at)
            stream.inbound.append(bytes.extracting(at..<(at + count)))
            return count
        }
    }

    private func bigEndian(_ bytes: RawSpan, _ at: Int) -> UInt32 {
        UInt32(bytes[byte: at]) << 24 | UInt32(bytes[byte: at + 1]) << 16 | UInt32(bytes[byte: at + 2]) << 8
            | UInt32(bytes[byte: at + 3])
    }

    private func accepts(_ slot: Int, _ session: ServerSession, flag: UInt8, length: Int) -> Bool {
        let call = call(slot, session)
        if flag != 0 {
            let encoding = session.withStream(slot) { String(decoding: $0.encoding, as: UTF8.self) }
            finish(
                call,
                encoding.isEmpty || encoding == "identity"
                    ? GRPCStatus(.internal, "grpc: compressed flag set with identity or empty encoding")
                    : GRPCStatus(
                        .unimplemented, "grpc: Decompressor is not installed for grpc-encoding \"\(encoding)\""))
            return false
        }
        guard length <= server.limits.messageBytesMax else {
            finish(
                call,
                GRPCStatus(
                    .resourceExhausted,
                    "grpc: received message larger than max (\(length) vs. \(server.limits.messageBytesMax))"))
            return false
        }
        return true
    }

    private func deliver(_ slot: Int, _ session: ServerSession, _ route: Int32, _ message: RawSpan) {
        switch server.router.handlers[Int(route)].handler {
        case .unary(let handler):
            let (serial, again, deadline) = session.withStream(slot) { stream in
                let again = stream.tag != 0
                stream.tag = 1
                return (stream.serial, again, (stream.object as? CallObjects)?.deadline ?? 0)
            }
            guard !again else { return }  // a second message on a unary call
            let call = Call(connection: index, slot: Int32(slot), serial: serial)
            handler(CallContext(call: call, peer: peer, deadline: deadline, session: session), message)
        case .stream:
            (session.withStream(slot) { $0.object } as? CallObjects)?.handler?.message(message)
        }
    }

    func requestEnded(_ slot: Int) {
        guard let session else { return }
        let (route, tag) = session.withStream(slot) { ($0.route, $0.tag) }
        if route == routeHTTP { return deliverHTTP(slot, session) }
        guard route >= 0 else { return }
        switch server.router.handlers[Int(route)].handler {
        case .unary:
            if tag == 0 && session.withStream(slot, { !$0.headSent }) {
                finish(call(slot, session), GRPCStatus(.internal, "the call ended without a message"))
            }
        case .stream: (session.withStream(slot) { $0.object } as? CallObjects)?.handler?.halfClosed()
        }
    }

    func streamClosed(_ slot: Int, errorCode: UInt32) {
        guard let session else { return }
        let ended = session.withStream(slot) { $0.trailers != nil }
        let objects = session.withStream(slot) { $0.object } as? CallObjects
        if !ended { abandon(slot, session, objects) }
    }

    func abandonStreams(_ session: ServerSession) {
        for slot in 0..<session.slotCount where session.withStream(slot, { $0.isOpen && $0.trailers == nil }) {
            abandon(slot, session, session.withStream(slot) { $0.object } as? CallObjects)
        }
    }

    private func abandon(_ slot: Int, _ session: ServerSession, _ objects: CallObjects?) {
        let call = call(slot, session)
        let route = session.withStream(slot) { stream in
            stream.trailers = ServerStream.Trailers.none
            return stream.route
        }
        if route >= 0 { server.observeEnd?(route, .cancelled) }
        objects?.handler?.cancelled()
        objects?.observer?.cancelled(call)
        objects?.handler = nil
        objects?.observer = nil
    }

    func pingReceived() { if let session { notePing(session) } }

    func pingAcknowledged() {}

    private func objects(_ slot: Int, _ session: ServerSession) -> CallObjects {
        session.withStream(slot) { stream in
            if let objects = stream.object as? CallObjects { return objects }
            let objects = CallObjects()
            stream.object = objects
            return objects
        }
    }

    // MARK: Answers

    func observe(_ call: Call, _ observer: any CallObserver) {
        if case .http1(let exchange) = wire { exchange.observer = observer }
        guard let session else { return }
        objects(Int(call.slot), session).observer = observer
    }

    func queuedBytes(_ call: Call) -> Int { session?.withStream(Int(call.slot)) { $0.queuedBytes } ?? 0 }

    /// `encode` returns false when there is nothing to send after all.
    func send(_ call: Call, _ encode: (inout [UInt8]) -> Bool) {
        guard let session else { return }
        let slot = Int(call.slot)
        let hasMessage = session.withStream(slot) { stream in
            if stream.trailers != nil { return false }
            let start = GRPCFraming.reserveHeader(in: &stream.outbound)
            guard encode(&stream.outbound) else {
                stream.outbound.removeSubrange(start...)
                return false
            }
            GRPCFraming.setLength(headerAt: start, in: &stream.outbound)
            return true
        }
        guard hasMessage else { return }
        session.respond(slot, head: .grpc)
        forgivePings()
        server.markDirty(self)
    }

    func finish(_ call: Call, _ status: GRPCStatus) {
        guard let session else { return }
        let slot = Int(call.slot)
        let (route, headSent, wasOver) = session.withStream(slot) { stream in
            let wasOver = stream.trailers != nil
            if !wasOver {
                stream.trailers = status.isOK ? .ok : .status(code: status.code.rawValue, message: status.message)
            }
            return (stream.route, stream.headSent, wasOver)
        }
        if wasOver { return }
        if headSent {
            session.respond(slot, head: .grpc)
        } else if status.isOK {
            session.respond(slot, head: .grpc)
        } else {
            session.respondHeadOnly(slot, head: .trailersOnly(code: status.code.rawValue, message: status.message))
        }
        if route >= 0 { server.observeEnd?(route, status.code) }
        if let objects = session.withStream(slot, { $0.object }) as? CallObjects {
            objects.handler = nil
            objects.observer = nil
        }
        forgivePings()
        server.markDirty(self)
    }

    /// Tells the producers whose queues have run low.
    func tellWritable() {
        guard let session, !waitingForRoom.isEmpty else { return }
        var still: [Call] = []
        let waiting = waitingForRoom
        waitingForRoom = []
        for call in waiting where session.isCurrent(Int(call.slot), call.serial) {
            if queuedBytes(call) > 64 * 1024 {
                still.append(call)
            } else {
                (session.withStream(Int(call.slot)) { $0.object } as? CallObjects)?.handler?.writable()
            }
        }
        waitingForRoom.append(contentsOf: still)
    }

    /// Ends calls whose deadline has passed; the earliest deadline that is still to come.
    func expireDeadlines(_ now: UInt64) -> UInt64 {
        guard let session else { return .max }
        var next = UInt64.max
        for slot in 0..<session.slotCount {
            let objects = session.withStream(slot) { $0.isOpen && $0.trailers == nil ? $0.object as? CallObjects : nil }
            guard let objects, objects.deadline != 0 else { continue }
            if objects.deadline > now {
                next = min(next, objects.deadline)
                continue
            }
            let call = call(slot, session)
            let (handler, observer) = (objects.handler, objects.observer)
            finish(call, GRPCStatus(.deadlineExceeded, "context deadline exceeded"))
            handler?.cancelled()
            observer?.cancelled(call)
        }
        return next
    }

    // MARK: Plain HTTP over HTTP/2

    private func startHTTP(_ slot: Int, _ session: ServerSession) {
        guard allowsHTTP, server.router.http != nil else {
            return session.withStream(slot) {
                $0.route = routeUnanswerable; return
            }
        }
        session.withStream(slot) { $0.route = routeHTTP }
    }

    private func deliverHTTP(_ slot: Int, _ session: ServerSession) {
        let request = session.withStream(slot) { stream in
            var request = HTTPRequest(
                method: String(decoding: stream.method, as: UTF8.self),
                target: String(decoding: stream.path, as: UTF8.self))
            request.headers.append(("host", String(decoding: stream.authority, as: UTF8.self)))
            if !stream.contentType.isEmpty {
                request.headers.append(("content-type", String(decoding: stream.contentType, as: UTF8.self)))
            }
            if !stream.timeout.isEmpty {
                request.headers.append(("grpc-timeout", String(decoding: stream.timeout, as: UTF8.self)))
            }
            stream.forEachField { name, value in
                request.headers.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
            }
            request.body = stream.inbound
            stream.inbound = []
            return request
        }
        server.router.http?(request, call(slot, session), peer)
    }

    func respond(_ call: Call, status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        switch wire {
        case .http1(let exchange): exchange.respond(call, status: status, headers: headers, body: body)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return }
            var fields = [("content-length", String(body.count))]
            fields.append(contentsOf: headers.map { ($0.name.lowercased(), $0.value) })
            session.withStream(Int(call.slot)) { stream in
                stream.outbound.append(contentsOf: body)
                stream.trailers = ServerStream.Trailers.none
            }
            session.respond(Int(call.slot), head: .fields([(":status", String(status))] + fields))
        case .unknown: break
        }
        server.markDirty(self)
    }

    func startPieces(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        switch wire {
        case .http1(let exchange): exchange.startPieces(call, status: status, headers: headers)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return }
            let fields = headers.map { ($0.name.lowercased(), $0.value) }
            session.respond(Int(call.slot), head: .fields([(":status", String(status))] + fields))
        case .unknown: break
        }
        server.markDirty(self)
    }

    func sendPiece(_ call: Call, _ bytes: [UInt8]) -> Int? {
        defer { server.markDirty(self) }
        switch wire {
        case .http1(let exchange): return exchange.sendPiece(call, bytes)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return nil }
            session.withStream(Int(call.slot)) { $0.outbound.append(contentsOf: bytes) }
            session.respond(Int(call.slot), head: .fields([]))
            return queuedBytes(call)
        case .unknown: return nil
        }
    }

    func endPieces(_ call: Call) {
        switch wire {
        case .http1(let exchange): exchange.endPieces(call)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return }
            session.withStream(Int(call.slot)) { $0.trailers = ServerStream.Trailers.none }
            session.respond(Int(call.slot), head: .fields([]))
        case .unknown: break
        }
        server.markDirty(self)
    }
}
