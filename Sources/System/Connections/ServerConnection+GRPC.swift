// gRPC on an HTTP/2 connection: heads to routes, body bytes to messages, answers to frames.

import Foundations
import GRPC
import HTTP1
import HTTP2Engine
import Linux

/// Routes below zero.
private let routeUnanswerable: Int32 = -1
private let routeHTTP: Int32 = -2

/// What a stream's slot holds on to while a streaming or observed call lives. A plain unary call has none.
private final class CallObjects {
    var handler: (any StreamHandler)?
    var observer: (any CallObserver)?
}

extension ServerStream {
    fileprivate var objects: CallObjects? { object.map { unsafe unsafeDowncast($0, to: CallObjects.self) } }
}

extension ServerConnection: ServerSessionOwner {
    @inline(__always)
    func call(_ slot: Int, _ session: ServerSession) -> Call {
        Call(connection: index, slot: Int32(slot), serial: session.withStream(slot) { $0.serial })
    }

    @inline(__always)
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
        var route = routeUnanswerable
        var isGRPC = false
        var hasTimeout = false
        var isPost = false
        session.withStream(slot) { stream in
            (isGRPC, isPost, hasTimeout) = (stream.isGRPC, stream.isPost, stream.hasTimeout)
            if isGRPC && allowsGRPC { stream.route = stream.withPath { server.router.find($0) } ?? routeUnanswerable }
            route = stream.route
        }
        guard isGRPC else { return startHTTP(slot, session) }
        guard allowsGRPC else { return finish(call(slot, session), GRPCStatus(.unimplemented, "this listener serves no gRPC")) }
        guard route >= 0 else {
            return finish(call(slot, session), server.router.unknown(session.withStream(slot) { Array($0.path) }))
        }
        server.countStart(route)
        server.noteStart(session.withStream(slot) { $0.serial })
        guard isPost else {
            return finish(call(slot, session), GRPCStatus(.internal, "the method of a gRPC call must be POST"))
        }
        if hasTimeout, !takeTimeout(slot, session) { return }
        if case .stream(let open) = server.router.handlers[Int(route)].handler {
            let call = call(slot, session)
            let deadline = session.withStream(slot) { $0.deadline }
            let handler = open(CallContext(call: call, peer: peer, deadline: deadline, session: session))
            if session.isCurrent(slot, call.serial), session.withStream(slot, { $0.trailers == nil }) {
                objects(slot, session).handler = handler
            }
        }
    }

    /// False when the header cannot be read; the call has been answered then.
    private func takeTimeout(_ slot: Int, _ session: ServerSession) -> Bool {
        guard let timeout = session.withStream(slot, { GRPCTimeout.parse($0.timeout) }) else {
            let text = session.withStream(slot) { String(decoding: $0.timeout, as: UTF8.self) }
            finish(call(slot, session), GRPCTimeout.malformed(text))
            return false
        }
        let (sum, overflow) = server.loop.now.addingReportingOverflow(UInt64(max(timeout, 1)))
        let deadline = overflow ? UInt64.max : sum
        session.withStream(slot) { $0.deadline = deadline }
        server.noteDeadline(deadline)
        return true
    }

    func requestBody(_ slot: Int, _ bytes: RawSpan) {
        guard let session else { return }
        session.consume(slot, bytes.byteCount)
        let (route, isAnswered) = session.withStream(slot) { ($0.route, $0.trailers != nil) }
        if isAnswered { return }
        if route == routeHTTP { return gatherHTTP(slot, session, bytes) }
        guard route >= 0 else { return }
        messages(slot, session, route, bytes)
    }

    /// Cuts body bytes into messages. Whole messages are handed over where they lie; only a message that is cut by the
    /// transport is gathered.
    private func messages(_ slot: Int, _ session: ServerSession, _ route: Int32, _ bytes: RawSpan) {
        let serial = session.withStream(slot) { $0.serial }
        var at = 0
        while at < bytes.byteCount && session.isCurrent(slot, serial) {
            let (gathered, isAnswered) = session.withStream(slot) { ($0.inbound.count, $0.trailers != nil) }
            if isAnswered { return }
            if gathered == 0 && bytes.byteCount - at >= GRPCFraming.headerSize {
                let length = messageLength(bytes, at)
                guard accepts(slot, session, flag: bytes[byte: at], length: length) else { return }
                let start = at + GRPCFraming.headerSize
                if bytes.byteCount - start >= length {
                    deliver(slot, session, route, bytes.extracting(start..<start + length))
                    at = start + length
                    continue
                }
            }
            guard let count = gather(slot, session, bytes, from: at) else { return }
            at += count
        }
    }

    /// Takes as much as the current message still needs: its five bytes first, then its body; delivers it when it is whole.
    /// Nil when the call was answered with an error.
    private func gather(_ slot: Int, _ session: ServerSession, _ bytes: RawSpan, from at: Int) -> Int? {
        let (have, need) = session.withStream(slot) { stream in
            let have = stream.inbound.count
            let header = GRPCFraming.headerSize
            return (have, have < header ? header : header + messageLength(stream.inbound.rawSpan, 0))
        }
        let count = min(need - have, bytes.byteCount - at)
        guard server.reserve(count) else {
            finish(call(slot, session), GRPCStatus(.resourceExhausted, "the server holds too many unfinished messages"))
            return nil
        }
        session.withStream(slot) { $0.inbound.append(bytes.extracting(at..<at + count)) }
        guard have + count == need else { return count }
        if have < GRPCFraming.headerSize {
            let (flag, length) = session.withStream(slot) { ($0.inbound[0], messageLength($0.inbound.rawSpan, 0)) }
            guard accepts(slot, session, flag: flag, length: length) else { return nil }
            if length > 0 { return count }
        }
        let whole = session.withStream(slot) { stream in
            let whole = stream.inbound
            stream.inbound = []
            return whole
        }
        server.release(whole.count)
        let route = session.withStream(slot) { $0.route }
        deliver(slot, session, route, whole.rawSpan.extracting(GRPCFraming.headerSize..<whole.count))
        return count
    }

    private func messageLength(_ bytes: RawSpan, _ at: Int) -> Int {
        Int(bytes[byte: at + 1]) << 24 | Int(bytes[byte: at + 2]) << 16 | Int(bytes[byte: at + 3]) << 8
            | Int(bytes[byte: at + 4])
    }

    private func accepts(_ slot: Int, _ session: ServerSession, flag: UInt8, length: Int) -> Bool {
        if flag == 0 && length <= server.limits.messageBytesMax { return true }
        let status: GRPCStatus
        if flag == 1 {
            let encoding = session.withStream(slot) { String(decoding: $0.encoding, as: UTF8.self) }
            status =
                encoding.isEmpty || encoding == "identity"
                ? EtcdError.compressedWithoutEncoding : EtcdError.unknownCompression(encoding)
        } else if flag != 0 {
            status = EtcdError.unexpectedPayloadFormat(flag)
        } else {
            status = EtcdError.messageTooLarge(length, limit: server.limits.messageBytesMax)
        }
        let call = call(slot, session)
        let handler = session.withStream(slot) { $0.objects?.handler }
        finish(call, status)
        handler?.cancelled()
        return false
    }

    private func deliver(_ slot: Int, _ session: ServerSession, _ route: Int32, _ message: RawSpan) {
        server.receivedBytes &+= UInt64(message.byteCount)
        switch server.router.handlers[Int(route)].handler {
        case .unary(let handler):
            let (serial, again, deadline) = session.withStream(slot) { stream in
                let again = stream.tag != 0
                stream.tag = 1
                return (stream.serial, again, stream.deadline)
            }
            guard !again else { return }  // a second message on a unary call
            let call = Call(connection: index, slot: Int32(slot), serial: serial)
            handler(CallContext(call: call, peer: peer, deadline: deadline, session: session), message)
        case .stream:
            server.callCounts[Int(route)].streamReceived &+= 1
            session.withStream(slot) { $0.objects?.handler }?.message(message)
        }
    }

    func requestEnded(_ slot: Int) {
        guard let session else { return }
        let (route, tag, isAnswered, cut) = session.withStream(slot) {
            ($0.route, $0.tag, $0.trailers != nil, !$0.inbound.isEmpty)
        }
        if isAnswered { return }
        if route == routeHTTP { return deliverHTTP(slot, session) }
        guard route >= 0 else { return }
        if cut {
            let handler = session.withStream(slot) { $0.objects?.handler }
            finish(call(slot, session), GRPCDeframer.truncated)
            handler?.cancelled()
            return
        }
        switch server.router.handlers[Int(route)].handler {
        case .unary:
            if tag == 0 { finish(call(slot, session), GRPCStatus(.internal, "the call ended without a message")) }
        case .stream: session.withStream(slot) { $0.objects?.handler }?.halfClosed()
        }
    }

    func streamClosed(_ slot: Int, errorCode: UInt32) {
        guard let session else { return }
        let (isAnswered, held, route) = session.withStream(slot) { ($0.trailers != nil, $0.inbound.count, $0.route) }
        if held > 0 { server.release(held) }
        if !isAnswered || route == routeHTTP { abandon(slot, session) }
    }

    /// The connection is gone.
    func abandonStreams(_ session: ServerSession) {
        for slot in 0..<session.slotCount where session.withStream(slot, { $0.isOpen }) {
            streamClosed(slot, errorCode: 8)
            session.withStream(slot) { $0.inbound = [] }
        }
    }

    private func abandon(_ slot: Int, _ session: ServerSession) {
        let call = call(slot, session)
        let (route, objects, isAnswered) = session.withStream(slot) { stream in
            let isAnswered = stream.trailers != nil
            stream.trailers = ServerStream.Trailers.none
            return (stream.route, stream.objects, isAnswered)
        }
        if isAnswered { return }
        if route >= 0 {
            server.observeFailure?(route, .cancelled)
            server.noteEnd(route, call.serial)
        }
        guard let objects else { return }
        let (handler, observer) = (objects.handler, objects.observer)
        objects.handler = nil
        objects.observer = nil
        handler?.cancelled()
        observer?.cancelled(call)
    }

    func roomAvailable(_ slot: Int) {
        session?.withStream(slot) { $0.objects?.handler }?.writable()
    }

    func pingReceived() { if let session { notePing(session) } }

    func pingAcknowledged() {}

    private func objects(_ slot: Int, _ session: ServerSession) -> CallObjects {
        session.withStream(slot) { stream in
            if let objects = stream.objects { return objects }
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

    func queuedBytes(_ call: Call) -> Int {
        switch wire {
        case .http2(let session): session.withStream(Int(call.slot)) { $0.queuedBytes }
        case .http1(let exchange): exchange.output.count + backlogBytes
        case .unknown: 0
        }
    }

    @inline(__always)
    func send(_ call: Call, _ encode: (inout [UInt8]) -> Void) {
        guard let session else { return }
        let slot = Int(call.slot)
        let isOver = session.withStream(slot) { stream in
            if stream.trailers != nil { return true }
            let start = GRPCFraming.reserveHeader(in: &stream.outbound)
            encode(&stream.outbound)
            GRPCFraming.setLength(headerAt: start, in: &stream.outbound)
            server.sentBytes &+= UInt64(stream.outbound.count - start - GRPCFraming.headerSize)
            if stream.queuedBytes > server.limits.highWater { stream.wantsRoom = true }
            if stream.route >= 0 { server.callCounts[Int(stream.route)].streamSent &+= 1 }
            return false
        }
        if isOver { return }
        session.respondGRPC(slot)
        forgivePings()
        server.markDirty(self)
    }

    /// A message and the good end of its call in one go.
    @inline(__always)
    func reply(_ call: Call, _ encode: (inout [UInt8]) -> Void) {
        guard let session else { return }
        let slot = Int(call.slot)
        var route = routeUnanswerable
        let isOver = session.withStream(slot) { stream in
            if stream.trailers != nil { return true }
            let start = GRPCFraming.reserveHeader(in: &stream.outbound)
            encode(&stream.outbound)
            GRPCFraming.setLength(headerAt: start, in: &stream.outbound)
            server.sentBytes &+= UInt64(stream.outbound.count - start - GRPCFraming.headerSize)
            stream.trailers = .ok
            stream.objects?.observer = nil
            route = stream.route
            return false
        }
        if isOver { return }
        succeeded(call, session, route)
    }

    @inline(__always)
    private func succeeded(_ call: Call, _ session: ServerSession, _ route: Int32) {
        session.respondGRPC(Int(call.slot))
        if route >= 0 {
            server.countSuccess(route)
            server.noteEnd(route, call.serial)
        }
        forgivePings()
        server.markDirty(self)
    }

    /// `reply` for what may fail half-way.
    @inline(__always)
    func replyOrFail(_ call: Call, _ encode: (inout [UInt8]) throws(GRPCStatus) -> Void) {
        guard let session else { return }
        let slot = Int(call.slot)
        var failure: GRPCStatus?
        var route = routeUnanswerable
        let isOver = session.withStream(slot) { stream in
            if stream.trailers != nil { return true }
            let start = GRPCFraming.reserveHeader(in: &stream.outbound)
            do throws(GRPCStatus) {
                try encode(&stream.outbound)
            } catch {
                stream.outbound.removeSubrange(start...)
                failure = error
                return false
            }
            GRPCFraming.setLength(headerAt: start, in: &stream.outbound)
            server.sentBytes &+= UInt64(stream.outbound.count - start - GRPCFraming.headerSize)
            stream.trailers = .ok
            stream.objects?.observer = nil
            route = stream.route
            return false
        }
        if isOver { return }
        if let failure { return finish(call, failure) }
        succeeded(call, session, route)
    }

    func finish(_ call: Call, _ status: GRPCStatus) {
        guard let session else { return }
        let slot = Int(call.slot)
        let (route, headSent, wasOver, objects) = session.withStream(slot) { stream in
            let wasOver = stream.trailers != nil
            if !wasOver {
                stream.trailers = status.isOK ? .ok : .status(code: status.code.rawValue, message: status.message)
            }
            return (stream.route, stream.headSent, wasOver, stream.objects)
        }
        if wasOver { return }
        if headSent || status.isOK {
            session.respondGRPC(slot)
        } else {
            session.respondHeadOnly(slot, head: .trailersOnly(code: status.code.rawValue, message: status.message))
        }
        if route >= 0 {
            if status.isOK { server.countSuccess(route) } else { server.observeFailure?(route, status.code) }
            server.noteEnd(route, call.serial)
        }
        objects?.handler = nil
        objects?.observer = nil
        forgivePings()
        server.markDirty(self)
    }

    /// Ends every streaming call; unary ones are left to be answered.
    func finishStreams(_ session: ServerSession, _ status: GRPCStatus) {
        for slot in 0..<session.slotCount {
            let handler = session.withStream(slot) { $0.isOpen && $0.trailers == nil ? $0.objects?.handler : nil }
            guard let handler else { continue }
            finish(call(slot, session), status)
            handler.cancelled()
        }
    }

    /// Ends calls whose deadline has passed; the earliest deadline that is still to come.
    func expireDeadlines(_ now: UInt64) -> UInt64 {
        guard let session else { return .max }
        var next = UInt64.max
        for slot in 0..<session.slotCount {
            let (deadline, objects) = session.withStream(slot) { stream in
                stream.isOpen && stream.trailers == nil ? (stream.deadline, stream.objects) : (0, nil)
            }
            guard deadline != 0 else { continue }
            if deadline > now {
                next = min(next, deadline)
                continue
            }
            let call = call(slot, session)
            let (handler, observer) = (objects?.handler, objects?.observer)
            finish(call, EtcdError.contextDeadlineExceeded)
            handler?.cancelled()
            observer?.cancelled(call)
        }
        return next
    }

    // MARK: Plain HTTP over HTTP/2

    private func startHTTP(_ slot: Int, _ session: ServerSession) {
        guard allowsHTTP, server.router.http != nil else {
            let type = session.withStream(slot) { String(decoding: $0.contentType, as: UTF8.self) }
            session.withStream(slot) { $0.trailers = ServerStream.Trailers.none }
            session.respondHeadOnly(slot, head: .unsupportedContentType(type))
            return server.markDirty(self)
        }
        session.withStream(slot) { $0.route = routeHTTP }
    }

    private func gatherHTTP(_ slot: Int, _ session: ServerSession, _ bytes: RawSpan) {
        let size = session.withStream(slot) { $0.inbound.count + bytes.byteCount }
        guard size <= server.limits.bodyBytesMax, server.reserve(bytes.byteCount) else {
            let text = Array("413 Request Entity Too Large: body too large".utf8)
            return respond(
                call(slot, session), status: 413, headers: [("Content-Type", "text/plain; charset=utf-8")], body: text)
        }
        session.withStream(slot) { $0.inbound.append(bytes) }
    }

    private func deliverHTTP(_ slot: Int, _ session: ServerSession) {
        let request = session.withStream(slot) { stream in
            var request = HTTPRequest(
                method: String(decoding: stream.method, as: UTF8.self), target: String(decoding: stream.path, as: UTF8.self))
            request.headers.append(("host", String(decoding: stream.authority, as: UTF8.self)))
            stream.forEachField { name, value in
                let name = String(decoding: name, as: UTF8.self)
                if name == "host" && !stream.authority.isEmpty { return }
                request.headers.append((name, String(decoding: value, as: UTF8.self)))
            }
            request.body = stream.inbound
            stream.inbound = []
            return request
        }
        server.release(request.body.count)
        server.router.http?(request, call(slot, session), peer)
    }

    func respond(_ call: Call, status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        switch wire {
        case .http1(let exchange): exchange.respond(call, status: status, headers: headers, body: body)
        case .http2(let session):
            let slot = Int(call.slot)
            guard session.isCurrent(slot, call.serial), session.withStream(slot, { $0.trailers == nil }) else { return }
            let fields = [(":status", String(status)), ("date", server.date), ("content-length", String(body.count))]
            let isHead = session.withStream(slot) { $0.method.elementsEqual("HEAD".utf8) }
            session.withStream(slot) { stream in
                if !isHead { stream.outbound.append(contentsOf: body) }
                stream.trailers = ServerStream.Trailers.none
                stream.objects?.observer = nil
            }
            session.respond(slot, head: .fields(fields + lowerCased(headers)))
        case .unknown: break
        }
        server.markDirty(self)
    }

    func startPieces(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        switch wire {
        case .http1(let exchange): exchange.startPieces(call, status: status, headers: headers)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return }
            session.respond(Int(call.slot), head: .fields([(":status", String(status)), ("date", server.date)] + lowerCased(headers)))
        case .unknown: break
        }
        server.markDirty(self)
    }

    /// What HTTP/2 wants of names, without the fields it forbids.
    private func lowerCased(_ headers: [(name: String, value: String)]) -> [(String, String)] {
        headers.map { ($0.name.lowercased(), $0.value) }.filter { !["connection", "keep-alive", "transfer-encoding"].contains($0.0) }
    }

    func startEndless(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        guard case .http1(let exchange) = wire else { return }
        exchange.startPieces(call, status: status, headers: headers)
        exchange.endsWithInput = true
        server.markDirty(self)
    }

    func sendPiece(_ call: Call, _ make: (inout [UInt8]) -> Void) -> Int? {
        guard case .http1(let exchange) = wire, let count = exchange.sendPiece(call, make) else { return nil }
        server.markDirty(self)
        return count + backlogBytes
    }

    func upgrade(_ call: Call, headers: [(name: String, value: String)], _ receiver: any HTTPBodyReceiver) {
        guard case .http1(let exchange) = wire else { return }
        exchange.upgrade(call, headers: headers, receiver)
        server.markDirty(self)
    }

    func sendUpgraded(_ call: Call, _ bytes: [UInt8]) -> Int? {
        guard case .http1(let exchange) = wire, let count = exchange.sendUpgraded(call, bytes) else { return nil }
        server.markDirty(self)
        return count + backlogBytes
    }

    func endUpgraded(_ call: Call) {
        guard case .http1(let exchange) = wire else { return }
        exchange.endUpgraded(call)
        server.markDirty(self)
    }

    func pauseBody(_ paused: Bool) {
        guard case .http1(let exchange) = wire else { return }
        exchange.pause(paused)
        server.markDirty(self)
    }

    func sendPiece(_ call: Call, _ bytes: [UInt8]) -> Int? {
        defer { server.markDirty(self) }
        switch wire {
        case .http1(let exchange): return exchange.sendPiece(call, bytes)
        case .http2(let session):
            let slot = Int(call.slot)
            guard session.isCurrent(slot, call.serial) else { return nil }
            let isOver = session.withStream(slot) { stream in
                if stream.trailers != nil { return true }
                stream.outbound.append(contentsOf: bytes)
                return false
            }
            if isOver { return nil }
            session.respond(slot, head: .fields([(":status", "200")]))
            return queuedBytes(call)
        case .unknown: return nil
        }
    }

    func endPieces(_ call: Call) {
        switch wire {
        case .http1(let exchange): exchange.endPieces(call)
        case .http2(let session):
            guard session.isCurrent(Int(call.slot), call.serial) else { return }
            session.withStream(Int(call.slot)) { stream in
                stream.trailers = ServerStream.Trailers.none
                stream.objects?.observer = nil
            }
            session.respond(Int(call.slot), head: .fields([(":status", "200")]))
        case .unknown: break
        }
        server.markDirty(self)
    }
}
