// HTTP/2 as a server speaks it, over nghttp2: bytes in, events to the owner, bytes out. No socket. nghttp2 does framing,
// header compression, flow control and the protocol's own limits; message checks it would make are switched off for
// speed (28 % of the transport's cost), so pseudo-headers are checked here.
//
// Events come during `receive`; the owner may answer in them or later. Output is pulled by `send` in pieces. Windows are
// given back to the peer only when the owner says it has dealt with the bytes (`consume`): that is the backpressure.

import CNghttp2
import Foundations
import Glibc

package protocol ServerSessionOwner: AnyObject {
    /// The head of a request is complete and well formed.
    func requestStarted(_ slot: Int)
    /// A piece of the body, borrowed.
    func requestBody(_ slot: Int, _ bytes: RawSpan)
    /// The peer has sent everything.
    func requestEnded(_ slot: Int)
    /// The stream is gone: answered, or reset by either side. The slot is reused afterwards.
    func streamClosed(_ slot: Int, errorCode: UInt32)
    func pingReceived()
    func pingAcknowledged()
}

@safe package final class ServerSession {
    package struct Limits: Sendable {
        package var maxConcurrentStreams: UInt32 = .max
        package var streamWindow: Int32 = 1 << 20
        package var connectionWindow: Int32 = 1 << 24
        package var maxHeadBytes = 64 * 1024

        package init() {}
    }

    package unowned let owner: any ServerSessionOwner
    package let limits: Limits
    /// The protocol was broken beyond repair, or the session is over: flush and close.
    package private(set) var isFinished = false

    /// Owned by this session: freed in deinit. Callbacks get `self` unretained; they run only inside calls on it.
    private var session: OpaquePointer?
    /// Slots never move: chunks of 64, each allocated once, freed in deinit.
    private var chunks: [UnsafeMutablePointer<ServerStream>] = unsafe []
    private var free: [Int32] = []
    private var nextSerial: UInt64 = 1
    package private(set) var openStreams = 0
    package private(set) var highestStreamID: Int32 = 0

    package init(owner: any ServerSessionOwner, limits: Limits = Limits()) {
        self.owner = owner
        self.limits = limits
        var options: OpaquePointer?
        unsafe nghttp2_option_new(&options)
        unsafe nghttp2_option_set_no_auto_window_update(options, 1)
        unsafe nghttp2_option_set_no_http_messaging(options, 1)
        unsafe nghttp2_option_set_no_closed_streams(options, 1)
        let result = unsafe nghttp2_session_server_new2(
            &session, SessionCallbacks.shared.pointer, Unmanaged.passUnretained(self).toOpaque(), options)
        invariant(result == 0, "nghttp2_session_server_new2: \(result)")
        unsafe nghttp2_option_del(options)
        var settings = [
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue), value: limits.maxConcurrentStreams
            ),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: UInt32(limits.streamWindow)),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue), value: UInt32(limits.maxHeadBytes)),
        ]
        unsafe nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
        unsafe nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, limits.connectionWindow)
    }

    deinit {
        unsafe nghttp2_session_del(session)
        // (By index: the formatter joins the words of `for unsafe chunk in`.)
        for i in unsafe chunks.indices {
            unsafe chunks[i].deinitialize(count: 64)
            unsafe chunks[i].deallocate()
        }
    }

    // MARK: Bytes

    /// Feeds what came from the peer. False when the connection cannot go on.
    package func receive(_ bytes: RawSpan) -> Bool {
        let taken = unsafe bytes.withUnsafeBytes { buffer in
            unsafe nghttp2_session_mem_recv(
                session, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count)
        }
        if taken < 0 {
            // A bad preface or a flood: there is nothing to say to such a peer, or nghttp2 has queued a GOAWAY already.
            isFinished = true
            return taken != Int(NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue)
                && taken != Int(NGHTTP2_ERR_FLOODED.rawValue) && taken != Int(NGHTTP2_ERR_NOMEM.rawValue)
        }
        return true
    }

    /// Appends the next pieces of output until there is no more or `output` holds `limit` bytes.
    package func send(into output: inout [UInt8], limit: Int) {
        while output.count < limit {
            var piece: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(session, &piece)
            if count < 0 {
                isFinished = true
                return
            }
            if count == 0 { return }
            unsafe output.append(contentsOf: UnsafeBufferPointer(start: piece, count: count))
        }
    }

    package var wantsToSend: Bool { unsafe nghttp2_session_want_write(session) != 0 }

    /// Nothing left to read or to say.
    package var isOver: Bool {
        unsafe nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    // MARK: Streams

    /// In-place access to a stream's state.
    package func withStream<R>(_ slot: Int, _ body: (inout ServerStream) -> R) -> R {
        unsafe body(&pointer(slot).pointee)
    }

    @inline(__always)
    private func pointer(_ slot: Int) -> UnsafeMutablePointer<ServerStream> {
        unsafe chunks[slot >> 6] + (slot & 63)
    }

    package var slotCount: Int { unsafe chunks.count * 64 }

    /// True while the slot holds the stream with this serial.
    package func isCurrent(_ slot: Int, _ serial: UInt64) -> Bool {
        unsafe slot < chunks.count * 64 && pointer(slot).pointee.isOpen && pointer(slot).pointee.serial == serial
    }

    /// Gives the window of bytes that have been dealt with back to the peer.
    package func consume(_ slot: Int, _ count: Int) {
        unsafe nghttp2_session_consume(session, pointer(slot).pointee.streamID, count)
    }

    /// Starts or continues an answer: call after changing `outbound` or `trailers`. `head` is used when the head has not
    /// been sent yet.
    package func respond(_ slot: Int, head: ResponseHead) {
        let stream = unsafe pointer(slot)
        let id = unsafe stream.pointee.streamID
        if unsafe !stream.pointee.headSent {
            unsafe stream.pointee.headSent = true
            var provider = unsafe nghttp2_data_provider()
            unsafe provider.source.ptr = UnsafeMutableRawPointer(stream)
            unsafe provider.read_callback = readBody
            let result = unsafe head.withNameValues { fields, count in
                unsafe nghttp2_submit_response(session, id, fields, count, &provider)
            }
            if result != 0 { resetStream(slot, NGHTTP2_INTERNAL_ERROR.rawValue) }
        } else if unsafe stream.pointee.waitsForBody {
            unsafe stream.pointee.waitsForBody = false
            unsafe nghttp2_session_resume_data(session, id)
        }
    }

    /// An answer that is nothing but its head, ending the stream: gRPC's trailers-only form.
    package func respondHeadOnly(_ slot: Int, head: ResponseHead) {
        let stream = unsafe pointer(slot)
        unsafe stream.pointee.headSent = true
        unsafe stream.pointee.bodyDone = true
        let id = unsafe stream.pointee.streamID
        _ = unsafe head.withNameValues { fields, count in
            unsafe nghttp2_submit_response(session, id, fields, count, nil)
        }
    }

    package func resetStream(_ slot: Int, _ errorCode: UInt32) {
        unsafe nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), pointer(slot).pointee.streamID, errorCode)
    }

    // MARK: The connection

    package func ping() { unsafe nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil) }

    /// Says that no new stream will be taken; open ones go on.
    package func startDrain() {
        unsafe nghttp2_submit_shutdown_notice(session)
    }

    /// The final GOAWAY; streams up to the highest seen may finish.
    package func goAway(_ errorCode: UInt32, _ text: String = "") {
        let bytes = Array(text.utf8)
        unsafe bytes.withUnsafeBufferPointer { debug in
            _ = unsafe nghttp2_submit_goaway(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session), errorCode,
                debug.baseAddress, debug.count)
        }
    }

    // MARK: What the callbacks call

    fileprivate func begin(_ streamID: Int32) -> Int32 {
        if free.isEmpty {
            let base = unsafe chunks.count * 64
            let chunk = UnsafeMutablePointer<ServerStream>.allocate(capacity: 64)
            unsafe chunk.initialize(repeating: ServerStream(), count: 64)
            unsafe chunks.append(chunk)
            for i in (0..<64).reversed() { free.append(Int32(base + i)) }
        }
        let slot = free.removeLast()
        let stream = unsafe pointer(Int(slot))
        unsafe stream.pointee.streamID = streamID
        unsafe stream.pointee.serial = nextSerial
        unsafe stream.pointee.isOpen = true
        nextSerial += 1
        openStreams += 1
        highestStreamID = max(highestStreamID, streamID)
        // The slot's number plus one, so that the first slot is not nil.
        unsafe nghttp2_session_set_stream_user_data(
            session, streamID, UnsafeMutableRawPointer(bitPattern: Int(slot) + 1))
        return slot
    }

    fileprivate func slot(of streamID: Int32) -> Int? {
        unsafe nghttp2_session_get_stream_user_data(session, streamID).map { Int(bitPattern: $0) - 1 }
    }

    fileprivate func header(_ slot: Int, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>)
        -> Int32
    {
        let stream = unsafe pointer(slot)
        unsafe stream.pointee.headBytes += name.count + value.count + 32
        guard unsafe stream.pointee.headBytes <= limits.maxHeadBytes else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        if unsafe stream.pointee.headersSeen { return 0 }  // request trailers say nothing to us
        unsafe stream.pointee.take(name, value)
        return 0
    }

    fileprivate func headersComplete(_ slot: Int) {
        let stream = unsafe pointer(slot)
        if unsafe stream.pointee.headersSeen { return }
        unsafe stream.pointee.headersSeen = true
        if unsafe stream.pointee.method.isEmpty || stream.pointee.path.first != 0x2f {
            resetStream(slot, NGHTTP2_PROTOCOL_ERROR.rawValue)
            return
        }
        owner.requestStarted(slot)
    }

    fileprivate func ended(_ slot: Int) {
        unsafe pointer(slot).pointee.remoteEnded = true
        owner.requestEnded(slot)
    }

    fileprivate func body(_ slot: Int, _ data: UnsafePointer<UInt8>, _ count: Int) {
        let stream = unsafe pointer(slot)
        guard unsafe stream.pointee.headersSeen else { return }
        unsafe owner.requestBody(slot, UnsafeRawBufferPointer(start: data, count: count).bytes)
    }

    fileprivate func closed(_ slot: Int, _ errorCode: UInt32) {
        owner.streamClosed(slot, errorCode: errorCode)
        unsafe pointer(slot).pointee.reset()
        openStreams -= 1
        free.append(Int32(slot))
    }

    /// Called by nghttp2 when it has room for body bytes of a stream.
    fileprivate func fill(
        _ streamID: Int32, _ stream: UnsafeMutablePointer<ServerStream>, _ buffer: UnsafeMutablePointer<UInt8>,
        _ room: Int,
        _ flags: UnsafeMutablePointer<UInt32>
    ) -> Int {
        let start = unsafe stream.pointee.outboundStart
        let waiting = unsafe stream.pointee.outbound.count - start
        let count = min(room, waiting)
        if count > 0 {
            unsafe stream.pointee.outbound.withUnsafeBufferPointer { bytes in
                unsafe buffer.update(from: bytes.baseAddress! + start, count: count)
            }
            unsafe stream.pointee.outboundStart = start + count
        }
        if count == waiting {
            let large = unsafe stream.pointee.outbound.capacity > 16384
            unsafe stream.pointee.outbound.removeAll(keepingCapacity: !large)
            unsafe stream.pointee.outboundStart = 0
            guard let trailers = unsafe stream.pointee.trailers else {
                if count > 0 { return count }
                unsafe stream.pointee.waitsForBody = true
                return Int(NGHTTP2_ERR_DEFERRED.rawValue)
            }
            unsafe stream.pointee.bodyDone = true
            unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
            switch trailers {
            case .none: break
            case .ok:
                unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                unsafe nghttp2_submit_trailer(session, streamID, StaticFields.trailersOK, 1)
            case .status(let code, let message):
                unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                _ = unsafe ResponseHead.trailers(code: code, message: message).withNameValues { fields, count in
                    unsafe nghttp2_submit_trailer(session, streamID, fields, count)
                }
            }
        } else if start > 1 << 20 {
            // A long queue is cut at its front now and then, not at every piece.
            unsafe stream.pointee.outbound.removeSubrange(0..<stream.pointee.outboundStart)
            unsafe stream.pointee.outboundStart = 0
        }
        return count
    }
}

extension ServerStream {
    /// Keeps what a gRPC server looks at; the rest goes to `fields` for whoever asks by name.
    fileprivate mutating func take(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        func named(_ text: StaticString) -> Bool {
            unsafe name.count == text.utf8CodeUnitCount && memcmp(name.baseAddress!, text.utf8Start, name.count) == 0
        }
        if unsafe name.first == 0x3a {
            if named(":path") {
                unsafe path.append(contentsOf: value)
            } else if named(":method") {
                unsafe method.append(contentsOf: value)
            } else if named(":authority") {
                unsafe authority.append(contentsOf: value)
            }
            return
        }
        if named("content-type") {
            unsafe contentType.append(contentsOf: value)
        } else if named("grpc-timeout") {
            unsafe timeout.append(contentsOf: value)
        } else if named("grpc-encoding") {
            unsafe encoding.append(contentsOf: value)
        } else if named("te") {
            return
        } else {
            appendLength(name.count)
            appendLength(value.count)
            unsafe fields.append(contentsOf: name)
            unsafe fields.append(contentsOf: value)
        }
    }

    private mutating func appendLength(_ count: Int) {
        fields.append(UInt8(truncatingIfNeeded: count))
        fields.append(UInt8(truncatingIfNeeded: count >> 8))
        fields.append(UInt8(truncatingIfNeeded: count >> 16))
        fields.append(UInt8(truncatingIfNeeded: count >> 24))
    }
}

/// nghttp2's callbacks, made once for the process; they only find the session and hand over.
@safe private final class SessionCallbacks: @unchecked Sendable {
    // Written once in init, read-only afterwards: safe to share.
    static let shared = SessionCallbacks()
    let pointer: OpaquePointer?

    private init() {
        var callbacks: OpaquePointer?
        unsafe nghttp2_session_callbacks_new(&callbacks)
        unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
            let frame = unsafe frame.unsafelyUnwrapped
            guard unsafe frame.pointee.hd.type == UInt8(NGHTTP2_HEADERS.rawValue),
                unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
            else { return 0 }
            let id = unsafe frame.pointee.hd.stream_id
            unsafe with(user) { _ = $0.begin(id) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, frame, name, nameLength, value, valueLength, _, user in
            let id = unsafe frame.unsafelyUnwrapped.pointee.hd.stream_id
            let name = unsafe UnsafeBufferPointer(start: name, count: nameLength)
            let value = unsafe UnsafeBufferPointer(start: value, count: valueLength)
            var result: Int32 = 0
            unsafe with(user) { session in
                if let slot = session.slot(of: id) { result = unsafe session.header(slot, name, value) }
            }
            return result
        }
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            let header = unsafe frame.unsafelyUnwrapped.pointee.hd
            unsafe with(user) { session in
                switch UInt32(header.type) {
                case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
                    guard let slot = session.slot(of: header.stream_id) else { return }
                    if UInt32(header.type) == NGHTTP2_HEADERS.rawValue { session.headersComplete(slot) }
                    if UInt32(header.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0,
                        session.slot(of: header.stream_id) == slot
                    {
                        session.ended(slot)
                    }
                case NGHTTP2_PING.rawValue:
                    if UInt32(header.flags) & NGHTTP2_FLAG_ACK.rawValue != 0 {
                        session.owner.pingAcknowledged()
                    } else {
                        session.owner.pingReceived()
                    }
                default: break
                }
            }
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
                if let slot = session.slot(of: id) { session.closed(slot, errorCode) }
            }
            return 0
        }
        unsafe pointer = callbacks
    }
}

/// The one place where a C callback's context becomes the session again: it was made from the live session, unretained.
@inline(__always)
private func with(_ user: UnsafeMutableRawPointer?, _ body: (ServerSession) -> Void) {
    unsafe Unmanaged<ServerSession>.fromOpaque(user.unsafelyUnwrapped)._withUnsafeGuaranteedRef { body($0) }
}

private func readBody(
    _: OpaquePointer?, _ streamID: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ room: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ user: UnsafeMutableRawPointer?
) -> Int {
    let stream = unsafe source.unsafelyUnwrapped.pointee.ptr.assumingMemoryBound(to: ServerStream.self)
    var count = 0
    unsafe with(user) {
        count = unsafe $0.fill(streamID, stream, buffer.unsafelyUnwrapped, room, flags.unsafelyUnwrapped)
    }
    return count
}
