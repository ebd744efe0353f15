// The calls of a dialled connection: gRPC between what callers say and hear, and the HTTP/2 session.

import Foundations
import GRPC
import HTTP2Engine

extension GRPCClientConnection {
    /// Begins a call. Nil when this connection takes no more: another one is needed.
    package func start(_ head: GRPCCallHead, _ receiver: any GRPCCallReceiver) -> GRPCClientCall? {
        guard state == .ready, closeReason == nil else { return nil }
        let request = RequestHead.grpc(
            path: head.path, authority: settings.authority, scheme: scheme, userAgent: settings.userAgent,
            timeout: head.timeout.map { GRPCTimeout.format(nanoseconds: $0) }, metadata: head.metadata)
        let call = GRPCClientCall(connection: self, receiver: receiver, receiveBytesMax: settings.receiveBytesMax)
        guard let slot = session.request(request, object: call) else { return nil }
        call.slot = slot
        dialler.markDirty(self)
        return call
    }

    func send(_ call: GRPCClientCall, _ bytes: [UInt8]) -> Int {
        dialler.markDirty(self)
        return session.write(call.slot) { $0.append(contentsOf: bytes) }
    }

    func finishSending(_ call: GRPCClientCall) {
        call.sendingIsOver = true
        session.endBody(call.slot)
        dialler.markDirty(self)
    }

    /// The caller has turned away; what is left of the stream is ended.
    func abandon(_ call: GRPCClientCall) {
        giveBack(call)
        session.reset(call.slot)
        dialler.markDirty(self)
    }

    func giveBack(_ call: GRPCClientCall) {
        guard call.withheld > 0 else { return }
        session.consumeOfStream(call.slot, call.withheld)
        call.withheld = 0
        dialler.markDirty(self)
    }

    /// The call behind a slot. Only `start` sets a stream's object.
    private func call(_ slot: Int) -> GRPCClientCall? {
        session.withStream(slot) { stream in
            stream.object.map { unsafe unsafeDowncast($0, to: GRPCClientCall.self) }
        }
    }

    /// The call cannot go on, for a reason found here.
    private func abort(_ call: GRPCClientCall, _ status: GRPCStatus) {
        guard !call.isOver else { return }
        abandon(call)
        call.end(GRPCCallOutcome(status))
    }
}

extension GRPCClientConnection: ClientSessionOwner {
    package func responseStarted(_ slot: Int) {
        guard let call = call(slot), !call.isOver else { return }
        let (httpStatus, contentType, hasStatus, encoding) = session.withStream(slot) {
            ($0.httpStatus, $0.contentType, !$0.grpcStatus.isEmpty, $0.fields["grpc-encoding"])
        }
        if httpStatus != 200 && !hasStatus {
            let text = "unexpected HTTP status code received from server: \(httpStatus)"
            return abort(call, GRPCStatus(GRPCCode(httpStatus: httpStatus), text))
        }
        if !contentType.starts(with: "application/grpc".utf8) {
            let text = "transport: received unexpected content-type \"\(String(decoding: contentType, as: UTF8.self))\""
            return abort(call, GRPCStatus(.unknown, text))
        }
        switch encoding.map({ String(decoding: $0, as: UTF8.self) }) {
        case nil, "identity": break
        case "gzip": call.isGzip = true
        case let other?: abort(call, EtcdError.unknownCompression(other))
        }
    }

    package func responseBody(_ slot: Int, _ bytes: RawSpan) {
        // The connection's window is given back at once, so that a call that is not read holds up only itself.
        session.consumeOfConnection(bytes.byteCount)
        guard let call = call(slot), !call.isOver else { return session.consumeOfStream(slot, bytes.byteCount) }
        do throws(GRPCStatus) {
            try call.deframer.feed(bytes) { (message, compressed) throws(GRPCStatus) in
                guard compressed else {
                    call.receiver?.message(message)
                    return
                }
                guard call.isGzip else { throw EtcdError.compressedWithoutEncoding }
                let whole = try Gzip.message(message, bytesMax: settings.receiveBytesMax)
                call.receiver?.message(whole.rawSpan)
            }
        } catch {
            abort(call, error)
        }
        if call.isPaused && !call.isOver {
            call.withheld += bytes.byteCount
        } else {
            session.consumeOfStream(slot, bytes.byteCount)
        }
    }

    package func responseEnded(_ slot: Int) {
        guard let call = call(slot), !call.isOver else { return }
        let (number, text) = session.withStream(slot) { ($0.grpcStatus, $0.grpcMessage) }
        var status: GRPCStatus
        if number.isEmpty {
            status = GRPCStatus(.internal, "server closed the stream without sending trailers")
        } else if let code = GRPCCode(header: number) {
            status = GRPCStatus(code, GRPCMessageText.decode(text))
        } else {
            status = GRPCStatus(.unknown, "malformed grpc-status: \(String(decoding: number, as: UTF8.self))")
        }
        if status.isOK && !call.deframer.isBetweenMessages { status = GRPCDeframer.truncated }
        // A server that has answered before we were done wants no more of it.
        if !call.sendingIsOver { session.reset(slot) }
        call.end(GRPCCallOutcome(status))
    }

    package func streamClosed(_ slot: Int, errorCode: UInt32, refused: Bool) {
        guard let call = call(slot), !call.isOver else { return }
        if let closeReason { return call.end(GRPCCallOutcome(closeReason)) }
        if refused {
            let text = "stream terminated by RST_STREAM with error code: REFUSED_STREAM"
            return call.end(GRPCCallOutcome(GRPCStatus(.unavailable, text), notProcessed: true))
        }
        let text = "stream terminated by RST_STREAM with error code: \(HTTP2ErrorName.of(errorCode))"
        call.end(GRPCCallOutcome(GRPCStatus(GRPCCode(http2Error: errorCode), text)))
    }

    package func settingsReceived() { greeted() }

    package func goAwayReceived(errorCode: UInt32, text: String) { awayWasSaid(errorCode: errorCode, text: text) }

    package func pingAcknowledged() { probeAnswered() }

    package func bodyTaken(_ slot: Int) {
        guard let call = call(slot), !call.isOver else { return }
        call.receiver?.writable()
    }
}
