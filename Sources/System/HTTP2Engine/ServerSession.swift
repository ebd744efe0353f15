// HTTP/2 as a server speaks it, over nghttp2: bytes in, events to the owner, bytes out. No socket. nghttp2 does framing,
// header compression, flow control and the protocol's own limits; message checks it would make are switched off for
// speed (28 % of the transport's cost), so heads are checked in RequestFields.swift.
//
// Events come during `receive`; the owner may answer in them or later. Output is pulled by `send` in pieces. Windows are
// given back to the peer only when the owner says it has dealt with the bytes (`consume`): that is the backpressure.

import CNghttp2
import Foundations

package protocol ServerSessionOwner: AnyObject {
    /// The head of a request is complete and well formed.
    func requestStarted(_ slot: Int)
    /// A piece of the body, borrowed.
    func requestBody(_ slot: Int, _ bytes: RawSpan)
    /// The peer has sent everything.
    func requestEnded(_ slot: Int)
    /// The stream is gone: answered, or reset by either side. The slot is reused afterwards.
    func streamClosed(_ slot: Int, errorCode: UInt32)
    /// A queue that was too long (`wantsRoom`) is short again. Told between frames, not inside nghttp2.
    func roomAvailable(_ slot: Int)
    func pingReceived()
    func pingAcknowledged()
}

@safe package final class ServerSession {
    package struct Limits: Sendable {
        package var maxConcurrentStreams: UInt32 = .max
        package var streamWindow: Int32 = 1 << 20
        package var connectionWindow: Int32 = 1 << 24
        package var maxHeadBytes = 64 * 1024
        /// A producer that waits for room is told at this many bytes.
        package var lowWater = 32 * 1024
        /// Answers that wait on all streams for window or socket; while there is more, new requests are refused, which
        /// clients may repeat.
        package var queuedBytesMax = 64 << 20
        /// Streams a peer may reset: so many at once, so many a second. A client whose calls all time out together is not
        /// an attack; one that does nothing else is, and gets GOAWAY.
        package var resetBurst: UInt64 = 20_000
        package var resetsPerSecond: UInt64 = 2_000

        package init() {}
    }

    // The owner keeps the session and outlives it; the session never keeps the owner.
    private unowned(unsafe) let owner: any ServerSessionOwner
    package let limits: Limits
    /// The protocol was broken beyond repair: flush what there is and close.
    package private(set) var isFinished = false

    /// Owned by this session: freed in deinit. Callbacks get `self` unretained; they run only inside calls on it.
    private let session: OpaquePointer
    @exclusivity(unchecked) @usableFromInline var streams = StreamSlab<ServerStream> { ServerStream() }
    private let spares: SpareBuffers
    /// The output of the `send` that is under way.
    private var sink: [UInt8] = []
    private var sinkLimit = 0
    /// Pieces of bodies from this size on are copied once, not twice.
    private static let uncopiedBytes = 2048
    private var nextSerial: UInt64
    private var room: [(slot: Int, serial: UInt64)] = []
    package private(set) var openStreams = 0
    /// Body bytes that wait on all streams.
    package private(set) var queuedBytes = 0
    package private(set) var highestStreamID: Int32 = 0

    /// Streams get serials from `firstSerial` upwards.
    package init(
        owner: any ServerSessionOwner, limits: Limits = Limits(), firstSerial: UInt64 = 1, spares: SpareBuffers = SpareBuffers()
    ) {
        unsafe self.owner = owner
        self.spares = spares
        nextSerial = firstSerial
        self.limits = limits
        var session: OpaquePointer?
        var options: OpaquePointer?
        unsafe nghttp2_option_new(&options)
        unsafe nghttp2_option_set_no_auto_window_update(options, 1)
        unsafe nghttp2_option_set_no_http_messaging(options, 1)
        unsafe nghttp2_option_set_no_closed_streams(options, 1)
        unsafe nghttp2_option_set_stream_reset_rate_limit(options, limits.resetBurst, limits.resetsPerSecond)
        // The callbacks find `self` through this address, which is set below.
        var memory = unsafe spares.blocks.functions
        let result = unsafe nghttp2_session_server_new3(&session, SessionCallbacks.shared.pointer, nil, options, &memory)
        unsafe nghttp2_option_del(options)
        guard result == 0, let session = unsafe session else { unreachable("nghttp2_session_server_new3: \(result)") }
        unsafe self.session = session
        unsafe nghttp2_session_set_user_data(session, Unmanaged.passUnretained(self).toOpaque())
        var settings = [
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue), value: limits.maxConcurrentStreams),
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

    /// Feeds what came from the peer. False when the connection cannot go on: flush (there may be a GOAWAY) and close.
    package func receive(_ bytes: RawSpan) -> Bool {
        let taken = unsafe bytes.withUnsafeBytes { buffer in
            unsafe nghttp2_session_mem_recv(
                session, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count)
        }
        if taken >= 0 { return true }
        isFinished = true
        if taken == Int(NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue) {
            goAway(NGHTTP2_PROTOCOL_ERROR.rawValue, "bad preface")
        } else {
            // Too much of something that costs us and not the peer: pings, settings, continuations.
            goAway(NGHTTP2_ENHANCE_YOUR_CALM.rawValue, "flood")
        }
        return false
    }

    /// Appends the next pieces of output until there is no more or `output` holds `limit` bytes.
    package func send(into output: inout [UInt8], limit: Int) {
        // Large pieces of bodies do not pass through nghttp2's buffer: `sendBody` finds the output here.
        swap(&output, &sink)
        sinkLimit = limit
        while sink.count < limit {
            var piece: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(session, &piece)
            if count < 0 { isFinished = true }
            if count <= 0 { break }
            unsafe sink.append(contentsOf: UnsafeBufferPointer(start: piece, count: count))
        }
        swap(&output, &sink)
        if !room.isEmpty { tellRoom() }
    }

    /// The frame of a piece that `fill` announced without copying it. False: the output is full, ask again.
    fileprivate func sendBody(_ stream: UnsafeMutablePointer<ServerStream>, _ header: RawSpan, _ count: Int) -> Bool {
        if sink.count >= sinkLimit { return false }
        let end = unsafe stream.pointee.outboundStart
        unsafe stream.pointee.outbound.withUnsafeBytes { bytes in
            let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[(end - count)..<end]).bytes
            sink.append(addingCapacity: header.byteCount + count) { output in
                output.append(header)
                output.append(piece)
            }
        }
        if unsafe stream.pointee.queuedBytes == 0 { unsafe empty(stream) }
        return true
    }

    /// The queue has been sent: a small buffer stays for the next answer, a large one goes to whoever needs it next.
    private func empty(_ stream: UnsafeMutablePointer<ServerStream>) {
        if unsafe stream.pointee.outbound.capacity < SpareBuffers.bufferBytes.lowerBound {
            unsafe stream.pointee.outbound.removeAll(keepingCapacity: true)
        } else {
            unsafe spares.give(&stream.pointee.outbound)
        }
        unsafe stream.pointee.outboundStart = 0
    }

    private func tellRoom() {
        let waiting = room
        room.removeAll(keepingCapacity: true)
        for (slot, serial) in waiting where isCurrent(slot, serial) { unsafe owner.roomAvailable(slot) }
    }

    package var wantsToSend: Bool { unsafe nghttp2_session_want_write(session) != 0 }

    /// Nothing left to read or to say.
    package var isOver: Bool {
        unsafe nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    // MARK: Streams

    /// In-place access to a stream's state. Do not call the session from inside.
    @inlinable @inline(__always)
    package func withStream<R>(_ slot: Int, _ body: (inout ServerStream) -> R) -> R {
        unsafe body(&streams.pointer(slot).pointee)
    }

    /// The answer will be large: take room for it from where the last large one left it.
    package func expectLargeAnswer(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        if unsafe stream.pointee.outbound.isEmpty { unsafe stream.pointee.outbound = spares.take() }
    }

    package var slotCount: Int { unsafe streams.slotCount }

    /// True while the slot holds the stream with this serial.
    @inlinable
    package func isCurrent(_ slot: Int, _ serial: UInt64) -> Bool {
        guard unsafe slot >= 0 && slot < streams.slotCount else { return false }
        let stream = unsafe streams.pointer(slot)
        return unsafe stream.pointee.isOpen && stream.pointee.serial == serial
    }

    /// Gives the window of bytes that have been dealt with back to the peer.
    package func consume(_ slot: Int, _ count: Int) {
        unsafe nghttp2_session_consume(session, streams.pointer(slot).pointee.streamID, count)
    }

    /// Starts or continues an answer: call after changing `outbound` or `trailers`. `head` is used when the head has not
    /// been sent yet.
    package func respond(_ slot: Int, head: ResponseHead) {
        let stream = unsafe streams.pointer(slot)
        unsafe count(stream)
        if unsafe !stream.pointee.headSent {
            unsafe stream.pointee.headSent = true
            unsafe head.withNameValues { fields, count in unsafe submit(stream, fields, count) }
        } else {
            unsafe resume(stream)
        }
    }

    /// `respond` with the head of every gRPC answer.
    package func respondGRPC(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe count(stream)
        if unsafe !stream.pointee.headSent {
            unsafe stream.pointee.headSent = true
            unsafe submit(stream, StaticFields.grpcHead, 2)
        } else {
            unsafe resume(stream)
        }
    }

    /// Takes what the owner added to the queue into the sum.
    @inline(__always)
    private func count(_ stream: UnsafeMutablePointer<ServerStream>) {
        let now = unsafe stream.pointee.queuedBytes
        unsafe queuedBytes += now - stream.pointee.counted
        unsafe stream.pointee.counted = now
    }

    private func submit(_ stream: UnsafeMutablePointer<ServerStream>, _ fields: UnsafePointer<nghttp2_nv>, _ count: Int) {
        var provider = unsafe nghttp2_data_provider()
        unsafe provider.source.ptr = UnsafeMutableRawPointer(stream)
        unsafe provider.read_callback = readBody
        let id = unsafe stream.pointee.streamID
        let result = unsafe nghttp2_submit_response(session, id, fields, count, &provider)
        if result != 0 { reset(streamID: id, NGHTTP2_INTERNAL_ERROR.rawValue) }
    }

    private func resume(_ stream: UnsafeMutablePointer<ServerStream>) {
        guard unsafe stream.pointee.waitsForBody else { return }
        unsafe stream.pointee.waitsForBody = false
        unsafe nghttp2_session_resume_data(session, stream.pointee.streamID)
    }

    /// An answer that is nothing but its head, ending the stream: gRPC's trailers-only form.
    package func respondHeadOnly(_ slot: Int, head: ResponseHead) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.headSent = true
        let id = unsafe stream.pointee.streamID
        _ = unsafe head.withNameValues { fields, count in
            unsafe nghttp2_submit_response(session, id, fields, count, nil)
        }
    }

    package func resetStream(_ slot: Int, _ errorCode: UInt32) {
        reset(streamID: unsafe streams.pointer(slot).pointee.streamID, errorCode)
    }

    private func reset(streamID: Int32, _ errorCode: UInt32) {
        unsafe nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), streamID, errorCode)
    }

    // MARK: The connection

    package func ping() { unsafe nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil) }

    /// Says that the connection will end, while streams that are on their way are still taken.
    package func startDrain() { unsafe nghttp2_submit_shutdown_notice(session) }

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

    @inline(__always)
    fileprivate func begin(_ streamID: Int32) {
        let slot = unsafe streams.take()
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.streamID = streamID
        unsafe stream.pointee.serial = nextSerial
        unsafe stream.pointee.isOpen = true
        nextSerial &+= 1
        openStreams &+= 1
        highestStreamID = max(highestStreamID, streamID)
        // The slot's number plus one, so that the first slot is not nil.
        unsafe nghttp2_session_set_stream_user_data(session, streamID, UnsafeMutableRawPointer(bitPattern: slot + 1))
    }

    @inline(__always)
    fileprivate func slot(of streamID: Int32) -> Int? {
        unsafe nghttp2_session_get_stream_user_data(session, streamID).map { Int(bitPattern: $0) - 1 }
    }

    @inline(__always)
    fileprivate func header(_ slot: Int, _ name: RawSpan, _ value: RawSpan) -> Int32 {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.headBytes += name.byteCount + value.byteCount + 32
        guard unsafe stream.pointee.headBytes <= limits.maxHeadBytes else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        unsafe stream.pointee.take(name, value)
        return 0
    }

    fileprivate func headersComplete(_ slot: Int, endsStream: Bool) {
        let stream = unsafe streams.pointer(slot)
        if unsafe stream.pointee.headersSeen {
            // Trailers end a request and carry no pseudo-headers.
            if unsafe !endsStream || stream.pointee.malformed { resetStream(slot, NGHTTP2_PROTOCOL_ERROR.rawValue) }
            return
        }
        unsafe stream.pointee.headersSeen = true
        guard unsafe stream.pointee.isHeadAcceptable else {
            return resetStream(slot, NGHTTP2_PROTOCOL_ERROR.rawValue)
        }
        guard queuedBytes <= limits.queuedBytesMax else {
            return resetStream(slot, NGHTTP2_REFUSED_STREAM.rawValue)
        }
        unsafe owner.requestStarted(slot)
    }

    fileprivate func ended(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.remoteEnded = true
        if unsafe stream.pointee.malformed { return }
        guard unsafe stream.pointee.fitsAnnounced(ended: true) else {
            return resetStream(slot, NGHTTP2_PROTOCOL_ERROR.rawValue)
        }
        unsafe owner.requestEnded(slot)
    }

    fileprivate func body(_ slot: Int, _ data: UnsafePointer<UInt8>, _ count: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.bodyBytes += count
        guard unsafe stream.pointee.headersSeen && !stream.pointee.malformed else { return consume(slot, count) }
        guard unsafe stream.pointee.fitsAnnounced(ended: false) else {
            consume(slot, count)
            return resetStream(slot, NGHTTP2_PROTOCOL_ERROR.rawValue)
        }
        unsafe owner.requestBody(slot, UnsafeRawBufferPointer(start: data, count: count).bytes)
    }

    fileprivate func closed(_ slot: Int, _ errorCode: UInt32) {
        unsafe owner.streamClosed(slot, errorCode: errorCode)
        queuedBytes -= unsafe streams.pointer(slot).pointee.counted
        unsafe streams.pointer(slot).pointee.reset()
        openStreams &-= 1
        unsafe streams.giveBack(slot)
    }

    /// An answer has been sent whole. A peer that has not sent all of its request is told that nobody reads the rest; the
    /// stream would stay half open until it did.
    fileprivate func answerSent(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        if unsafe !stream.pointee.remoteEnded { reset(streamID: unsafe stream.pointee.streamID, NGHTTP2_NO_ERROR.rawValue) }
    }

    fileprivate func pinged(isAnswer: Bool) {
        if isAnswer { unsafe owner.pingAcknowledged() } else { unsafe owner.pingReceived() }
    }

    /// Called by nghttp2 when it has room for body bytes of a stream.
    @inline(__always)
    fileprivate func fill(
        _ streamID: Int32, _ stream: UnsafeMutablePointer<ServerStream>, _ buffer: UnsafeMutablePointer<UInt8>, _ room: Int,
        _ flags: UnsafeMutablePointer<UInt32>
    ) -> Int {
        let start = unsafe stream.pointee.outboundStart
        let waiting = unsafe stream.pointee.queuedBytes
        let count = min(room, waiting)
        let isUncopied = count >= ServerSession.uncopiedBytes
        if count > 0 {
            if isUncopied {
                unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            } else {
                unsafe stream.pointee.outbound.withUnsafeBufferPointer { bytes in
                    unsafe buffer.update(from: bytes.baseAddress.unsafelyUnwrapped + start, count: count)
                }
            }
            unsafe stream.pointee.outboundStart = start + count
            unsafe stream.pointee.counted -= count
            queuedBytes -= count
            if unsafe stream.pointee.wantsRoom && waiting - count <= limits.lowWater { unsafe noteRoom(stream) }
        }
        if count < waiting {
            if start > 1 << 20 {
                // A long queue is cut at its front now and then, not at every piece.
                unsafe stream.pointee.outbound.removeSubrange(0..<start)
                unsafe stream.pointee.outboundStart = count
            }
            return count
        }
        if waiting > 0 && !isUncopied { unsafe empty(stream) }
        guard let trailers = unsafe stream.pointee.trailers else {
            if count > 0 { return count }
            unsafe stream.pointee.waitsForBody = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
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
        return count
    }

    /// Asks for `roomAvailable`, at the next `send` when the queue is short already.
    package func askForRoom(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        if unsafe stream.pointee.queuedBytes <= limits.lowWater {
            unsafe room.append((slot, stream.pointee.serial))
        } else {
            unsafe stream.pointee.wantsRoom = true
        }
    }

    private func noteRoom(_ stream: UnsafeMutablePointer<ServerStream>) {
        unsafe stream.pointee.wantsRoom = false
        if let slot = unsafe slot(of: stream.pointee.streamID) { unsafe room.append((slot, stream.pointee.serial)) }
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
            unsafe with(user) { $0.begin(id) }
            return 0
        }
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
            let header = unsafe frame.unsafelyUnwrapped.pointee.hd
            unsafe with(user) { received(header, $0) }
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
        unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, _, header, count, source, user in
            let stream = unsafe source.unsafelyUnwrapped.pointee.ptr.assumingMemoryBound(to: ServerStream.self)
            let header = unsafe UnsafeRawBufferPointer(start: header, count: 9)
            let isSent = unsafe with(user) { unsafe $0.sendBody(stream, header.bytes, count) }
            return isSent ? 0 : NGHTTP2_ERR_WOULDBLOCK.rawValue
        }
        unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
            let header = unsafe frame.unsafelyUnwrapped.pointee.hd
            guard UInt32(header.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0,
                header.type == UInt8(NGHTTP2_HEADERS.rawValue) || header.type == UInt8(NGHTTP2_DATA.rawValue)
            else { return 0 }
            unsafe with(user) { session in
                if let slot = session.slot(of: header.stream_id) { session.answerSent(slot) }
            }
            return 0
        }
        unsafe pointer = callbacks
    }
}

private func received(_ header: nghttp2_frame_hd, _ session: ServerSession) {
    let ends = UInt32(header.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue:
        if ends, let slot = session.slot(of: header.stream_id) { session.ended(slot) }
    case NGHTTP2_HEADERS.rawValue:
        guard let slot = session.slot(of: header.stream_id) else { return }
        session.headersComplete(slot, endsStream: ends)
        if ends, session.slot(of: header.stream_id) == slot { session.ended(slot) }
    case NGHTTP2_PING.rawValue: session.pinged(isAnswer: UInt32(header.flags) & NGHTTP2_FLAG_ACK.rawValue != 0)
    default: break
    }
}

/// The one place where a C callback's context becomes the session again: it was made from the live session, unretained.
@inline(__always)
private func with<R>(_ user: UnsafeMutableRawPointer?, _ body: (ServerSession) -> R) -> R {
    unsafe Unmanaged<ServerSession>.fromOpaque(user.unsafelyUnwrapped)._withUnsafeGuaranteedRef { body($0) }
}

private func readBody(
    _: OpaquePointer?, _ streamID: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ room: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ user: UnsafeMutableRawPointer?
) -> Int {
    let stream = unsafe source.unsafelyUnwrapped.pointee.ptr.assumingMemoryBound(to: ServerStream.self)
    return unsafe with(user) {
        unsafe $0.fill(streamID, stream, buffer.unsafelyUnwrapped, room, flags.unsafelyUnwrapped)
    }
}
