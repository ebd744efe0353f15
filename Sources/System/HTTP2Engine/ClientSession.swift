// HTTP/2 as a client speaks it, over nghttp2: requests in, bytes out; bytes in, events out. No socket. The counterpart of
// ServerSession, with the same rules: events come during `receive` (and, when a request cannot be sent, during `send`);
// windows are given back only by `consume`.
//
//     let slot = session.request(head)          a stream; its body is added with `write`, ended with `endBody`
//     owner.responseStarted(slot)               :status and the head's fields are there
//     owner.responseBody(slot, bytes)           any number of times
//     owner.responseEnded(slot)                 trailers are there
//     owner.streamClosed(slot, code)            always, last: 0 after a complete exchange

import CNghttp2
import Foundations

package protocol ClientSessionOwner: AnyObject {
    func responseStarted(_ slot: Int)
    func responseBody(_ slot: Int, _ bytes: RawSpan)
    func responseEnded(_ slot: Int)
    /// The stream is gone; the slot is reused afterwards. `refused`: the peer has certainly not begun with it.
    func streamClosed(_ slot: Int, errorCode: UInt32, refused: Bool)
    /// The first SETTINGS of the peer, and later ones.
    func settingsReceived()
    /// The peer takes no new streams; those above the last one it names are closed as refused by themselves.
    func goAwayReceived(errorCode: UInt32, text: String)
    func pingAcknowledged()
    /// More of a stream's body has been taken; its queue holds no more than `ClientSession.Limits.lowWater`.
    func bodyTaken(_ slot: Int)
}

@safe package final class ClientSession {
    package struct Limits: Sendable {
        package var streamWindow: Int32 = 1 << 20
        package var connectionWindow: Int32 = 1 << 24
        package var maxHeadBytes = 1 << 20
        /// A producer that stopped at a long queue is woken at this many bytes.
        package var lowWater = 32 * 1024

        package init() {}
    }

    package unowned let owner: any ClientSessionOwner
    package let limits: Limits
    /// The protocol was broken beyond repair: flush what there is and close.
    package private(set) var isFinished = false
    package private(set) var receivedSettings = false
    package private(set) var receivedGoAway = false
    package private(set) var openStreams = 0

    /// Owned by this session: freed in deinit. Callbacks get `self` unretained; they run only inside calls on it.
    private var session: OpaquePointer?
    private var streams = StreamSlab<ClientStream> { ClientStream() }
    private var nextSerial: UInt64 = 1

    package init(owner: any ClientSessionOwner, limits: Limits = Limits()) {
        self.owner = owner
        self.limits = limits
        var options: OpaquePointer?
        unsafe nghttp2_option_new(&options)
        unsafe nghttp2_option_set_no_auto_window_update(options, 1)
        unsafe nghttp2_option_set_no_http_messaging(options, 1)
        unsafe nghttp2_option_set_no_closed_streams(options, 1)
        let result = unsafe nghttp2_session_client_new2(
            &session, ClientCallbacks.shared.pointer, Unmanaged.passUnretained(self).toOpaque(), options)
        invariant(result == 0, "nghttp2_session_client_new2: \(result)")
        unsafe nghttp2_option_del(options)
        var settings = [
            nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: UInt32(limits.streamWindow)),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue), value: UInt32(limits.maxHeadBytes)),
        ]
        unsafe nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
        unsafe nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, limits.connectionWindow)
    }

    deinit { unsafe nghttp2_session_del(session) }

    // MARK: Bytes

    /// Feeds what came from the peer. False when the connection cannot go on.
    package func receive(_ bytes: RawSpan) -> Bool {
        let taken = unsafe bytes.withUnsafeBytes { buffer in
            unsafe nghttp2_session_mem_recv(
                session, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count)
        }
        if taken < 0 { isFinished = true }
        return taken >= 0
    }

    /// Appends the next pieces of output until there is no more or `output` holds `limit` bytes.
    package func send(into output: inout [UInt8], limit: Int) {
        while output.count < limit {
            var piece: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(session, &piece)
            if count < 0 { isFinished = true }
            if count <= 0 { return }
            unsafe output.append(contentsOf: UnsafeBufferPointer(start: piece, count: count))
        }
    }

    package var wantsToSend: Bool { unsafe nghttp2_session_want_write(session) != 0 }

    /// Nothing left to read or to say.
    package var isOver: Bool {
        unsafe nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    /// What the peer allows; more wait inside the session.
    package var peerMaxConcurrentStreams: UInt32 {
        unsafe nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
    }

    // MARK: Streams

    /// A new stream; nil when this connection can carry no more and another one is needed.
    package func request(_ head: RequestHead, tag: UInt64 = 0, object: AnyObject? = nil) -> Int? {
        guard !isFinished, !receivedGoAway else { return nil }
        let slot = streams.take()
        let stream = unsafe streams.pointer(slot)
        var provider = unsafe nghttp2_data_provider()
        unsafe provider.source.ptr = UnsafeMutableRawPointer(stream)
        unsafe provider.read_callback = readRequestBody
        let id = unsafe head.withNameValues { fields, count in
            // The slot's number plus one, so that the first slot is not nil.
            unsafe nghttp2_submit_request(
                session, nil, fields, count, &provider, UnsafeMutableRawPointer(bitPattern: slot + 1))
        }
        guard id > 0 else {
            streams.giveBack(slot)
            return nil
        }
        unsafe stream.pointee.streamID = id
        unsafe stream.pointee.serial = nextSerial
        unsafe stream.pointee.isOpen = true
        unsafe stream.pointee.tag = tag
        unsafe stream.pointee.object = object
        nextSerial += 1
        openStreams += 1
        return slot
    }

    /// In-place access to a stream's state. Do not call the session from inside.
    package func withStream<R>(_ slot: Int, _ body: (inout ClientStream) -> R) -> R {
        unsafe body(&streams.pointer(slot).pointee)
    }

    /// True while the slot holds the stream with this serial.
    package func isCurrent(_ slot: Int, _ serial: UInt64) -> Bool {
        guard slot >= 0 && slot < streams.slotCount else { return false }
        let stream = unsafe streams.pointer(slot)
        return unsafe stream.pointee.isOpen && stream.pointee.serial == serial
    }

    /// Adds to the body: `append` writes at the end of the stream's queue. What is queued then.
    @discardableResult
    package func write(_ slot: Int, _ append: (inout [UInt8]) -> Void) -> Int {
        let stream = unsafe streams.pointer(slot)
        invariant(unsafe !stream.pointee.bodyComplete, "the body has been ended")
        unsafe append(&stream.pointee.outbound)
        unsafe resume(stream)
        return unsafe stream.pointee.queuedBytes
    }

    /// Nothing more is written.
    package func endBody(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.bodyComplete = true
        unsafe resume(stream)
    }

    private func resume(_ stream: UnsafeMutablePointer<ClientStream>) {
        guard unsafe stream.pointee.waitsForBody else { return }
        unsafe stream.pointee.waitsForBody = false
        unsafe nghttp2_session_resume_data(session, stream.pointee.streamID)
    }

    /// Gives the window of bytes that have been dealt with back to the peer.
    package func consume(_ slot: Int, _ count: Int) {
        unsafe nghttp2_session_consume(session, streams.pointer(slot).pointee.streamID, count)
    }

    /// The same in two steps, for owners that hold back a stream and must not hold back the others with it.
    package func consumeOfConnection(_ count: Int) { unsafe nghttp2_session_consume_connection(session, count) }

    package func consumeOfStream(_ slot: Int, _ count: Int) {
        unsafe nghttp2_session_consume_stream(session, streams.pointer(slot).pointee.streamID, count)
    }

    /// Ends a stream early; `streamClosed` follows when the frame is sent.
    package func reset(_ slot: Int, _ errorCode: UInt32 = NGHTTP2_CANCEL.rawValue) {
        unsafe nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), streams.pointer(slot).pointee.streamID, errorCode)
    }

    /// The connection is lost: closes every stream towards the owner.
    package func closeAll(errorCode: UInt32) {
        isFinished = true
        for slot in 0..<streams.slotCount where unsafe streams.pointer(slot).pointee.isOpen {
            closed(slot, errorCode, refused: false)
        }
    }

    // MARK: The connection

    package func ping() { unsafe nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil) }

    package func goAway(_ errorCode: UInt32 = 0) {
        unsafe nghttp2_session_terminate_session(session, errorCode)
    }

    // MARK: What the callbacks call

    fileprivate func slot(of streamID: Int32) -> Int? {
        unsafe nghttp2_session_get_stream_user_data(session, streamID).map { Int(bitPattern: $0) - 1 }
    }

    fileprivate func holds(_ slot: Int, _ streamID: Int32) -> Bool {
        let stream = unsafe streams.pointer(slot)
        return unsafe stream.pointee.isOpen && stream.pointee.streamID == streamID
    }

    fileprivate func header(_ slot: Int, _ name: RawSpan, _ value: RawSpan) -> Int32 {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.headBytes += name.byteCount + value.byteCount + 32
        guard unsafe stream.pointee.headBytes <= limits.maxHeadBytes else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        unsafe stream.pointee.take(name, value)
        return 0
    }

    fileprivate func headersComplete(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        // 1xx heads come before the real one and say nothing to us.
        if unsafe stream.pointee.headSeen || (100..<200).contains(stream.pointee.httpStatus) { return }
        guard unsafe stream.pointee.httpStatus > 0 else { return reset(slot, NGHTTP2_PROTOCOL_ERROR.rawValue) }
        unsafe stream.pointee.headSeen = true
        owner.responseStarted(slot)
    }

    fileprivate func ended(_ slot: Int) {
        unsafe streams.pointer(slot).pointee.remoteEnded = true
        owner.responseEnded(slot)
    }

    fileprivate func body(_ slot: Int, _ data: UnsafePointer<UInt8>, _ count: Int) {
        guard unsafe streams.pointer(slot).pointee.headSeen else { return reset(slot, NGHTTP2_PROTOCOL_ERROR.rawValue) }
        unsafe owner.responseBody(slot, UnsafeRawBufferPointer(start: data, count: count).bytes)
    }

    fileprivate func closed(_ slot: Int, _ errorCode: UInt32, refused: Bool) {
        let stream = unsafe streams.pointer(slot)
        owner.streamClosed(slot, errorCode: errorCode, refused: refused)
        unsafe stream.pointee.reset()
        openStreams -= 1
        streams.giveBack(slot)
    }

    /// A request that was never sent, because the peer said GOAWAY or the connection ran out of stream numbers. nghttp2
    /// does not know its stream, so it is looked for.
    fileprivate func notSent(_ streamID: Int32) {
        for slot in 0..<streams.slotCount {
            let stream = unsafe streams.pointer(slot)
            if unsafe stream.pointee.isOpen && stream.pointee.streamID == streamID {
                return closed(slot, NGHTTP2_REFUSED_STREAM.rawValue, refused: true)
            }
        }
    }

    fileprivate func settings() {
        receivedSettings = true
        owner.settingsReceived()
    }

    fileprivate func goAway(_ errorCode: UInt32, _ text: String) {
        receivedGoAway = true
        owner.goAwayReceived(errorCode: errorCode, text: text)
    }

    /// Called by nghttp2 when it has room for body bytes of a stream.
    fileprivate func fill(
        _ stream: UnsafeMutablePointer<ClientStream>, _ buffer: UnsafeMutablePointer<UInt8>, _ room: Int,
        _ flags: UnsafeMutablePointer<UInt32>
    ) -> Int {
        let start = unsafe stream.pointee.outboundStart
        let waiting = unsafe stream.pointee.queuedBytes
        let count = min(room, waiting)
        if count > 0 {
            unsafe stream.pointee.outbound.withUnsafeBufferPointer { bytes in
                unsafe buffer.update(from: bytes.baseAddress.unsafelyUnwrapped + start, count: count)
            }
            unsafe stream.pointee.outboundStart = start + count
        }
        if count == waiting {
            let large = unsafe stream.pointee.outbound.capacity > 16384
            unsafe stream.pointee.outbound.removeAll(keepingCapacity: !large)
            unsafe stream.pointee.outboundStart = 0
        } else if start > 1 << 20 {
            // A long queue is cut at its front now and then, not at every piece.
            unsafe stream.pointee.outbound.removeSubrange(0..<stream.pointee.outboundStart)
            unsafe stream.pointee.outboundStart = 0
        }
        if count > 0 && waiting > limits.lowWater && waiting - count <= limits.lowWater {
            if let slot = unsafe slot(of: stream.pointee.streamID) { owner.bodyTaken(slot) }
        }
        guard unsafe stream.pointee.queuedBytes == 0 else { return count }
        if unsafe stream.pointee.bodyComplete {
            unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
            return count
        }
        if count > 0 { return count }
        unsafe stream.pointee.waitsForBody = true
        return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
}

extension ClientStream {
    /// Keeps what a gRPC client looks at apart; the rest goes to `fields` for whoever asks by name.
    fileprivate mutating func take(_ name: RawSpan, _ value: RawSpan) {
        if name.byteCount > 0 && name[byte: 0] == 0x3a {
            guard named(name, ":status"), !headSeen else { return }
            httpStatus = 0
            for i in 0..<min(value.byteCount, 3) {
                let digit = value[byte: i]
                if (0x30...0x39).contains(digit) { httpStatus = httpStatus * 10 + Int(digit - 0x30) }
            }
        } else if named(name, "grpc-status") {
            grpcStatus.removeAll(keepingCapacity: true)
            grpcStatus.append(value)
        } else if named(name, "grpc-message") {
            grpcMessage.removeAll(keepingCapacity: true)
            grpcMessage.append(value)
        } else if named(name, "content-type") {
            contentType.removeAll(keepingCapacity: true)
            contentType.append(value)
        } else {
            fields.append(name, value)
        }
    }
}

/// nghttp2's callbacks, made once for the process; they only find the session and hand over.
@safe private final class ClientCallbacks: @unchecked Sendable {
    // Written once in init, read-only afterwards: safe to share.
    static let shared = ClientCallbacks()
    let pointer: OpaquePointer?

    private init() {
        var callbacks: OpaquePointer?
        unsafe nghttp2_session_callbacks_new(&callbacks)
        unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, frame, name, nameLength, value, valueLength, _, user in
            let id = unsafe frame.unsafelyUnwrapped.pointee.hd.stream_id
            return unsafe with(user) { session in
                guard let slot = session.slot(of: id) else { return 0 }
                let name = unsafe UnsafeRawBufferPointer(start: name, count: nameLength)
                let value = unsafe UnsafeRawBufferPointer(start: value, count: valueLength)
                return unsafe session.header(slot, name.bytes, value.bytes)
            }
        }
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            unsafe with(user) { session in unsafe received(frame.unsafelyUnwrapped, session) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, id, data, count, user in
            unsafe with(user) { session in
                if let slot = session.slot(of: id), let data = unsafe data { unsafe session.body(slot, data, count) }
            }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, errorCode, user in
            unsafe with(user) { session in
                // One that was reset before it was sent has been told already, and its slot may be another's.
                guard let slot = session.slot(of: id), session.holds(slot, id) else { return }
                session.closed(slot, errorCode, refused: errorCode == NGHTTP2_REFUSED_STREAM.rawValue)
            }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, _, user in
            let frame = unsafe frame.unsafelyUnwrapped
            guard unsafe frame.pointee.hd.type == UInt8(NGHTTP2_HEADERS.rawValue),
                unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
            else { return 0 }
            let id = unsafe frame.pointee.hd.stream_id
            unsafe with(user) { $0.notSent(id) }
            return 0
        }
        unsafe pointer = callbacks
    }
}

private func received(_ frame: UnsafePointer<nghttp2_frame>, _ session: ClientSession) {
    let header = unsafe frame.pointee.hd
    switch UInt32(header.type) {
    case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
        guard let slot = session.slot(of: header.stream_id) else { return }
        if UInt32(header.type) == NGHTTP2_HEADERS.rawValue { session.headersComplete(slot) }
        if UInt32(header.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0, session.slot(of: header.stream_id) == slot {
            session.ended(slot)
        }
    case NGHTTP2_SETTINGS.rawValue:
        if UInt32(header.flags) & NGHTTP2_FLAG_ACK.rawValue == 0 { session.settings() }
    case NGHTTP2_PING.rawValue:
        if UInt32(header.flags) & NGHTTP2_FLAG_ACK.rawValue != 0 { session.owner.pingAcknowledged() }
    case NGHTTP2_GOAWAY.rawValue:
        let away = unsafe frame.pointee.goaway
        let text = unsafe UnsafeBufferPointer(start: away.opaque_data, count: away.opaque_data_len)
        unsafe session.goAway(away.error_code, String(decoding: text, as: UTF8.self))
    default: break
    }
}

/// The one place where a C callback's context becomes the session again: it was made from the live session, unretained.
@inline(__always)
private func with<R>(_ user: UnsafeMutableRawPointer?, _ body: (ClientSession) -> R) -> R {
    unsafe Unmanaged<ClientSession>.fromOpaque(user.unsafelyUnwrapped)._withUnsafeGuaranteedRef { body($0) }
}

private func readRequestBody(
    _: OpaquePointer?, _: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ room: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ user: UnsafeMutableRawPointer?
) -> Int {
    let stream = unsafe source.unsafelyUnwrapped.pointee.ptr.assumingMemoryBound(to: ClientStream.self)
    return unsafe with(user) {
        unsafe $0.fill(stream, buffer.unsafelyUnwrapped, room, flags.unsafelyUnwrapped)
    }
}
