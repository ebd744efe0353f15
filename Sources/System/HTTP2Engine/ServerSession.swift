// HTTP/2 as a server speaks it (RFC 9113): bytes in, events to the owner, bytes out. No socket. Frames and header compression
// are our own, because the way of a small call through a general library was the dearest part of it.
//
//     receive -> frame by frame (ServerSession+Receiving) -> events
//     respond -> the stream takes its turn (ServerSession+Sending) -> send
//
// Events come during `receive`, `streamClosed` also during `send`; the owner may answer in them or later. Output is pulled by
// `send` in pieces. Windows are given back to the peer only when the owner says it has dealt with the bytes (`consume`): that
// is the backpressure.
//
// What a small unary call costs here: a look into the cache of heads, which is a copy of some hundred bytes; two look-ups of
// the stream; the three frames of the answer, written in one piece where they leave. No allocation.

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
    /// A queue that was too long (`wantsRoom`) is short again. Told between frames.
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
        /// Frames one header block may be continued in.
        package var continuationsMax = 8
        /// A producer that waits for room is told at this many bytes.
        package var lowWater = 32 * 1024
        /// Answers that wait on all streams for window or socket; while there is more, new requests are refused, which
        /// clients may repeat.
        package var queuedBytesMax = 64 << 20
        /// Streams a peer may reset: so many at once, so many a second. A client whose calls all time out together is not
        /// an attack; one that does nothing else is, and gets GOAWAY.
        package var resetBurst: UInt64 = 20_000
        package var resetsPerSecond: UInt64 = 2_000
        /// Answers to pings and settings that wait for the socket.
        package var acknowledgementsMax = 1_000
        /// Frames that are no part of an answer and wait for the socket.
        package var controlBytesMax = 1 << 20
        /// Settings in one frame.
        package var settingsMax = 32
        /// DATA frames without data, one after the other.
        package var emptyFramesMax = 10_000

        package init() {}
    }

    // The owner keeps the session and outlives it; the session never keeps the owner.
    unowned(unsafe) let owner: any ServerSessionOwner
    package let limits: Limits
    /// The protocol was broken beyond repair: flush what there is and close.
    package internal(set) var isFinished = false

    @exclusivity(unchecked) @usableFromInline var streams = StreamSlab<ServerStream> { ServerStream() }
    var index = StreamIndex()
    let spares: SpareBuffers
    private var nextSerial: UInt64
    package private(set) var openStreams = 0
    /// Body bytes that wait on all streams.
    package internal(set) var queuedBytes = 0
    /// The last stream that was taken; streams above it that came after GOAWAY are only known to have been there.
    package private(set) var highestStreamID: Int32 = 0
    var highestSeenID: Int32 = 0

    // Receiving.
    var reading = Reading()
    var decoder = HeaderDecoder()
    var heads = HeadCache()
    var trailers = FieldList()
    /// Of the connection's window: what came, and what of it has been dealt with.
    var received: Int32 = 0
    var consumed: Int32 = 0
    var resets: ResetBudget
    var receivedGoAway = false
    var sentGoAway = false

    // Sending.
    /// Frames that belong to no answer, or end one; they go before everything else.
    var control: [UInt8] = []
    var waitingAcknowledgements = 0
    var answerHeaders = AnswerHeaders()
    /// Streams with something to send, in turn; and those that wait for the connection's window.
    var forTurn = StreamQueue()
    var forConnection = StreamQueue()
    var sendWindow = 65_535
    var peerStreamWindow = 65_535
    /// The peer has changed what its streams begin with, and the open ones have not been told.
    var pendingWindowChange = 0
    var room: [(slot: Int, serial: UInt64)] = []
    /// How often a stream had its turn to send something of its answer.
    package internal(set) var turnsTaken: UInt64 = 0

    /// Streams get serials from `firstSerial` upwards.
    package init(
        owner: any ServerSessionOwner, limits: Limits = Limits(), firstSerial: UInt64 = 1, spares: SpareBuffers = SpareBuffers()
    ) {
        unsafe self.owner = owner
        self.spares = spares
        nextSerial = firstSerial
        self.limits = limits
        resets = ResetBudget(burst: limits.resetBurst, perSecond: limits.resetsPerSecond)
        let settings: [(id: UInt8, value: UInt32)] = [
            (3, limits.maxConcurrentStreams), (4, UInt32(limits.streamWindow)), (6, UInt32(limits.maxHeadBytes)),
        ]
        control.append(addingCapacity: FrameHeader.size) { output in
            output.appendFrame(FrameHeader.Kind.settings, flags: 0, stream: 0, length: 6 * settings.count)
        }
        for (id, value) in settings {
            control.append(contentsOf: [0, id])
            control.appendWord(value)
        }
        let more = limits.connectionWindow - 65_535
        if more > 0 { control.appendFrame(FrameHeader.Kind.windowUpdate, word: UInt32(more)) }
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

    func begin(_ streamID: Int32) -> Int {
        let slot = unsafe streams.take()
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.streamID = streamID
        unsafe stream.pointee.serial = nextSerial
        unsafe stream.pointee.isOpen = true
        unsafe stream.pointee.sendWindow = peerStreamWindow - pendingWindowChange
        nextSerial &+= 1
        openStreams &+= 1
        highestStreamID = streamID
        index.insert(streamID, slot)
        return slot
    }

    /// The last that the owner hears of a stream.
    func close(_ slot: Int, _ errorCode: UInt32) {
        unsafe owner.streamClosed(slot, errorCode: errorCode)
        let stream = unsafe streams.pointer(slot)
        queuedBytes -= unsafe stream.pointee.counted
        // Nobody will deal with what is left of it. (What has not come yet is given back when it comes.)
        var left = unsafe stream.pointee.received - stream.pointee.consumed
        if reading.dataSlot == slot {
            if reading.isInData { left -= Int32(truncatingIfNeeded: reading.dataLeft) }
            reading.dataSlot = -1
        }
        if left > 0 { consumeOfConnection(left) }
        switch unsafe stream.pointee.waits {
        case .nowhere: break
        case .forTurn: unsafe forTurn.remove(slot, &streams)
        case .forConnection: unsafe forConnection.remove(slot, &streams)
        }
        index.remove(unsafe stream.pointee.streamID)
        unsafe stream.pointee.reset()
        openStreams &-= 1
        unsafe streams.giveBack(slot)
    }

    package func resetStream(_ slot: Int, _ errorCode: UInt32) {
        control.appendFrame(
            FrameHeader.Kind.reset, stream: unsafe streams.pointer(slot).pointee.streamID, word: errorCode)
        close(slot, errorCode)
    }

    // MARK: The connection

    package func ping() { control.appendFrame(FrameHeader.Kind.ping, word: 0, 0) }

    /// Says that the connection will end, while streams that are on their way are still taken.
    package func startDrain() { appendGoAway(.max, HTTP2ErrorCode.noError, "") }

    /// The final GOAWAY; streams up to the highest seen may finish.
    package func goAway(_ errorCode: UInt32, _ text: String = "") {
        sentGoAway = true
        appendGoAway(highestStreamID, errorCode, text)
    }

    private func appendGoAway(_ last: Int32, _ errorCode: UInt32, _ text: String) {
        control.append(addingCapacity: FrameHeader.size) { output in
            output.appendFrame(FrameHeader.Kind.goAway, flags: 0, stream: 0, length: 8 + text.utf8.count)
        }
        control.appendWord(UInt32(bitPattern: last))
        control.appendWord(errorCode)
        control.append(contentsOf: text.utf8)
    }

    /// The connection cannot go on: says why, and nothing after it.
    func fail(_ errorCode: UInt32, _ text: String) {
        guard !isFinished else { return }
        isFinished = true
        goAway(errorCode, text)
    }

    package var wantsToSend: Bool {
        if !control.isEmpty { return true }
        return !isFinished && (!forTurn.isEmpty || (sendWindow > 0 && !forConnection.isEmpty))
    }

    /// Nothing left to read or to say.
    package var isOver: Bool {
        (isFinished || openStreams == 0 && (sentGoAway || receivedGoAway)) && !wantsToSend
    }
}
