// What comes from the peer, frame by frame. A frame is read where it lies when all of it is there, and gathered when the
// transport cut it; DATA is handed on in the pieces in which it comes. Whatever RFC 9113 forbids ends the stream or the
// connection with the code it asks for.
//
// Of streams that are gone nothing is kept but the highest number. What still comes for them is ignored, after it has changed
// the header table and the connection's window as it must: it may have been sent before the peer knew.

import Foundations

/// Where the reading of frames is.
struct Reading {
    var prefaceSeen = 0
    /// The peer's first SETTINGS were there.
    var isGreeted = false
    /// A frame that has not arrived whole, with its header. Never DATA.
    var pending: [UInt8] = []
    /// Of that frame, when at least its header is there.
    var pendingHeader: FrameHeader { FrameHeader(pending.rawSpan, at: 0) }
    /// Left of a frame of a kind that is not known.
    var skipped = 0

    // DATA that is under way: bytes left of the data and the padding, and for whom; -1 for nobody.
    var isInData = false
    var dataSlot = -1
    var dataLeft = 0
    var paddingLeft = 0
    var needsPadding = false
    var dataEnds = false
    var emptyFrames = 0

    // A header block that goes on in the next frame; nothing else may come before it. 0 without.
    var blockStream: Int32 = 0
    var block: [UInt8] = []
    var blockEnds = false
    var continuations = 0
}

extension ServerSession {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    /// Feeds what came from the peer. False when the connection cannot go on: flush (there may be a GOAWAY) and close.
    package func receive(_ bytes: RawSpan) -> Bool {
        _ = receive(bytes, from: 0, untilQueued: .max)
        return !isFinished
    }

    /// The same from an offset on, and only up to the next request when more than so many bytes of answers wait that can be
    /// sent: where it is then. At least a frame is taken, and all of the bytes when the connection cannot go on.
    package func receive(_ bytes: RawSpan, from start: Int, untilQueued queueMax: Int) -> Int {
        if control.count > limits.controlBytesMax { fail(HTTP2ErrorCode.enhanceYourCalm, "flood") }
        var at = start
        while at < bytes.byteCount && !isFinished {
            if reading.isInData {
                at = takeData(bytes, at)
            } else if reading.pending.isEmpty && reading.skipped == 0 && reading.prefaceSeen == ServerSession.preface.count {
                at = takeFrame(bytes, at)
            } else {
                at = takeRest(bytes, at)
            }
            if queuedBytes > queueMax && !forTurn.isEmpty && isRequest(bytes, at) { break }
        }
        if pendingWindowChange != 0 { applyWindowChange() }
        return isFinished ? bytes.byteCount : at
    }

    /// Whether a request begins here, and not more of one that may have its answer: a stream whose answer leaves before the end
    /// of its request has been seen is reset.
    private func isRequest(_ bytes: RawSpan, _ at: Int) -> Bool {
        guard !reading.isInData, reading.pending.isEmpty, reading.skipped == 0, reading.blockStream == 0 else { return false }
        return bytes.byteCount - at >= FrameHeader.size && FrameHeader(bytes, at: at).type == FrameHeader.Kind.headers
    }

    /// At the start of a frame.
    @inline(__always)
    private func takeFrame(_ bytes: RawSpan, _ at: Int) -> Int {
        let have = bytes.byteCount - at - FrameHeader.size
        guard have >= 0 else {
            reading.pending.append(bytes.extracting(at..<bytes.byteCount))
            return bytes.byteCount
        }
        let header = FrameHeader(bytes, at: at)
        guard mayCome(header) else { return bytes.byteCount }
        let start = at + FrameHeader.size
        if startsInPieces(header) { return start }
        guard have >= header.length else {
            reading.pending.append(bytes.extracting(at..<bytes.byteCount))
            return bytes.byteCount
        }
        take(header, bytes.extracting(start..<start + header.length))
        return start + header.length
    }

    /// Before the first frame, or in a frame of which only a part came before.
    private func takeRest(_ bytes: RawSpan, _ at: Int) -> Int {
        let have = bytes.byteCount - at
        if reading.prefaceSeen < ServerSession.preface.count {
            guard bytes[byte: at] == ServerSession.preface[reading.prefaceSeen] else {
                fail(HTTP2ErrorCode.protocolError, "bad preface")
                return bytes.byteCount
            }
            reading.prefaceSeen += 1
            return at + 1
        }
        if reading.skipped > 0 {
            let count = min(reading.skipped, have)
            reading.skipped -= count
            return at + count
        }
        if reading.pending.count < FrameHeader.size {
            let count = min(FrameHeader.size - reading.pending.count, have)
            reading.pending.append(bytes.extracting(at..<at + count))
            guard reading.pending.count == FrameHeader.size else { return at + count }
            let header = reading.pendingHeader
            guard mayCome(header) else { return bytes.byteCount }
            if startsInPieces(header) {
                reading.pending.removeAll(keepingCapacity: true)
            } else if header.length == 0 {
                takePending(header)
            }
            return at + count
        }
        let header = reading.pendingHeader
        let missing = FrameHeader.size + header.length - reading.pending.count
        let count = min(missing, have)
        reading.pending.append(bytes.extracting(at..<at + count))
        if count == missing { takePending(header) }
        return at + count
    }

    private func takePending(_ header: FrameHeader) {
        var frame: [UInt8] = []
        swap(&frame, &reading.pending)
        take(header, frame.rawSpan.extracting(FrameHeader.size..<FrameHeader.size + header.length))
        // Small ones come again; the memory of a large one is not kept for it.
        guard frame.capacity <= 4096 else { return }
        frame.removeAll(keepingCapacity: true)
        swap(&frame, &reading.pending)
    }

    /// What can be told from the header alone and holds for all kinds.
    @inline(__always)
    private func mayCome(_ header: FrameHeader) -> Bool {
        if header.length > FrameHeader.payloadMax {
            fail(HTTP2ErrorCode.frameSizeError, "frame larger than allowed")
        } else if !reading.isGreeted && (header.type != FrameHeader.Kind.settings || header.has(FrameHeader.acknowledge)) {
            fail(HTTP2ErrorCode.protocolError, "SETTINGS expected")
        } else if reading.blockStream != 0
            && (header.type != FrameHeader.Kind.continuation || header.streamID != reading.blockStream)
        {
            fail(HTTP2ErrorCode.protocolError, "CONTINUATION expected")
        } else {
            return true
        }
        return false
    }

    /// Frames whose payload is not waited for.
    @inline(__always)
    private func startsInPieces(_ header: FrameHeader) -> Bool {
        if header.type == FrameHeader.Kind.data {
            startData(header)
            return true
        }
        if header.type > FrameHeader.Kind.continuation {
            reading.skipped = header.length
            return true
        }
        return false
    }

    private func take(_ header: FrameHeader, _ payload: RawSpan) {
        switch header.type {
        case FrameHeader.Kind.headers: takeHeaders(header, payload)
        case FrameHeader.Kind.continuation: takeContinuation(header, payload)
        case FrameHeader.Kind.windowUpdate: takeWindowUpdate(header, payload)
        case FrameHeader.Kind.reset: takeReset(header, payload)
        case FrameHeader.Kind.ping: takePing(header, payload)
        case FrameHeader.Kind.settings: takeSettings(header, payload)
        case FrameHeader.Kind.priority:
            // Says nothing any more; that it is one is still looked at.
            if header.streamID == 0 { return fail(HTTP2ErrorCode.protocolError, "PRIORITY on stream 0") }
            if header.length != 5 { fail(HTTP2ErrorCode.frameSizeError, "PRIORITY") }
        case FrameHeader.Kind.goAway:
            if header.streamID != 0 { return fail(HTTP2ErrorCode.protocolError, "GOAWAY on a stream") }
            if header.length < 8 { return fail(HTTP2ErrorCode.frameSizeError, "GOAWAY") }
            receivedGoAway = true
        default: fail(HTTP2ErrorCode.protocolError, "PUSH_PROMISE")
        }
    }

    // MARK: Heads and trailers

    private func takeHeaders(_ header: FrameHeader, _ payload: RawSpan) {
        guard header.streamID & 1 == 1 else { return fail(HTTP2ErrorCode.protocolError, "HEADERS on a stream of ours") }
        var start = 0
        var end = payload.byteCount
        if header.has(FrameHeader.padded) {
            guard end > 0 else { return fail(HTTP2ErrorCode.frameSizeError, "HEADERS") }
            start = 1
            end -= Int(payload[byte: 0])
        }
        if header.has(FrameHeader.priority) { start += 5 }
        guard start <= payload.byteCount else { return fail(HTTP2ErrorCode.frameSizeError, "HEADERS") }
        guard start <= end else { return fail(HTTP2ErrorCode.protocolError, "padding") }
        let block = payload.extracting(start..<end)
        let ends = header.has(FrameHeader.endStream)
        if header.has(FrameHeader.endHeaders) { return takeBlock(header.streamID, block, ends) }
        reading.blockStream = header.streamID
        reading.blockEnds = ends
        reading.continuations = 0
        reading.block.append(block)
    }

    private func takeContinuation(_ header: FrameHeader, _ payload: RawSpan) {
        guard reading.blockStream != 0 else { return fail(HTTP2ErrorCode.protocolError, "CONTINUATION of nothing") }
        reading.continuations += 1
        guard reading.continuations <= limits.continuationsMax else {
            return fail(HTTP2ErrorCode.enhanceYourCalm, "too many CONTINUATION frames")
        }
        reading.block.append(payload)
        guard header.has(FrameHeader.endHeaders) else { return }
        var block: [UInt8] = []
        swap(&block, &reading.block)
        reading.blockStream = 0
        takeBlock(header.streamID, block.rawSpan, reading.blockEnds)
    }

    private func takeBlock(_ streamID: Int32, _ block: RawSpan, _ ends: Bool) {
        if let slot = index[streamID] { return takeTrailers(slot, block, ends) }
        guard streamID > highestSeenID, !sentGoAway else {
            highestSeenID = max(highestSeenID, streamID)
            _ = decodeTrailers(block)
            return
        }
        highestSeenID = streamID
        guard openStreams < Int(limits.maxConcurrentStreams) else {
            if decodeTrailers(block) != nil {
                control.appendFrame(FrameHeader.Kind.reset, stream: streamID, word: HTTP2ErrorCode.refusedStream)
            }
            return
        }
        reading.emptyFrames = 0
        let slot = begin(streamID)
        guard takeHead(slot, block) else { return }
        guard queuedBytes <= limits.queuedBytesMax else { return resetStream(slot, HTTP2ErrorCode.refusedStream) }
        let stream = unsafe streams.pointer(slot)
        let serial = unsafe stream.pointee.serial
        unsafe stream.pointee.isStarted = true
        unsafe owner.requestStarted(slot)
        if ends && isCurrent(slot, serial) { ended(slot) }
    }

    /// False when the stream, or the connection, ends with it.
    @inline(__always)
    private func takeHead(_ slot: Int, _ block: RawSpan) -> Bool {
        let stream = unsafe streams.pointer(slot)
        let generation = decoder.table.generation
        if unsafe heads.find(block, generation, &stream.pointee.head, &stream.pointee.places) { return true }
        unsafe stream.pointee.head.removeAll()
        unsafe stream.pointee.places = RequestPlaces()
        do throws(HeaderDamage) {
            guard try unsafe decoder.decode(block, into: &stream.pointee.head, bytesMax: limits.maxHeadBytes) else {
                resetProvoked(slot, HTTP2ErrorCode.internalError)
                return false
            }
        } catch {
            fail(HTTP2ErrorCode.compressionError, "header block")
            return false
        }
        unsafe stream.pointee.places = RequestPlaces(stream.pointee.head)
        if unsafe stream.pointee.places.malformed {
            resetProvoked(slot, HTTP2ErrorCode.protocolError)
            return false
        }
        if decoder.table.generation == generation {
            unsafe heads.keep(block, generation, stream.pointee.head, stream.pointee.places)
        }
        return true
    }

    private func takeTrailers(_ slot: Int, _ block: RawSpan, _ ends: Bool) {
        guard let areGood = decodeTrailers(block) else { return }
        if unsafe streams.pointer(slot).pointee.remoteEnded { return resetProvoked(slot, HTTP2ErrorCode.streamClosed) }
        guard areGood, ends else { return resetProvoked(slot, HTTP2ErrorCode.protocolError) }
        ended(slot)
    }

    /// For the sake of the header table, and to refuse what must not be there. Nil when the connection has failed.
    private func decodeTrailers(_ block: RawSpan) -> Bool? {
        trailers.removeAll()
        do throws(HeaderDamage) {
            return try decoder.decode(block, into: &trailers, bytesMax: limits.maxHeadBytes) && trailers.areTrailers
        } catch {
            fail(HTTP2ErrorCode.compressionError, "header block")
            return nil
        }
    }

    private func ended(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.remoteEnded = true
        guard unsafe stream.pointee.fitsAnnounced(ended: true) else { return resetProvoked(slot, HTTP2ErrorCode.protocolError) }
        unsafe owner.requestEnded(slot)
    }

    /// A stream that the peer's doing makes us reset counts like one that it resets.
    private func resetProvoked(_ slot: Int, _ errorCode: UInt32) {
        guard resets.take() else { return fail(HTTP2ErrorCode.enhanceYourCalm, "too many streams were reset") }
        resetStream(slot, errorCode)
    }

    // MARK: Bodies

    @inline(__always)
    private func startData(_ header: FrameHeader) {
        guard isKnown(header.streamID) else { return fail(HTTP2ErrorCode.protocolError, "DATA on a stream that is not open") }
        let length = Int32(truncatingIfNeeded: header.length)
        received += length
        guard received <= max(limits.connectionWindow, 65_535) else {
            return fail(HTTP2ErrorCode.flowControlError, "more than the connection's window")
        }
        reading.dataEnds = header.has(FrameHeader.endStream)
        reading.needsPadding = header.has(FrameHeader.padded)
        if length == 0 {
            if reading.needsPadding { return fail(HTTP2ErrorCode.frameSizeError, "DATA") }
            if !reading.dataEnds { reading.emptyFrames += 1 }
            guard reading.emptyFrames <= limits.emptyFramesMax else { return fail(HTTP2ErrorCode.enhanceYourCalm, "empty DATA") }
        } else {
            reading.emptyFrames = 0
        }
        reading.dataLeft = header.length
        reading.dataSlot = -1
        if let slot = index[header.streamID] {
            let stream = unsafe streams.pointer(slot)
            if unsafe stream.pointee.remoteEnded {
                resetProvoked(slot, HTTP2ErrorCode.streamClosed)
            } else if unsafe stream.pointee.received + length > max(limits.streamWindow, 65_535) {
                resetProvoked(slot, HTTP2ErrorCode.flowControlError)
            } else {
                unsafe stream.pointee.received += length
                reading.dataSlot = slot
            }
        }
        reading.isInData = true
        if length == 0 { endData() }
    }

    @inline(__always)
    private func takeData(_ bytes: RawSpan, _ start: Int) -> Int {
        var at = start
        if reading.needsPadding {
            let padding = Int(bytes[byte: at])
            at += 1
            reading.needsPadding = false
            guard padding < reading.dataLeft else {
                fail(HTTP2ErrorCode.protocolError, "padding")
                return bytes.byteCount
            }
            reading.dataLeft -= padding + 1
            reading.paddingLeft = padding
            // Padding counts for the windows, and nobody deals with it.
            if reading.dataSlot >= 0 { consume(reading.dataSlot, padding + 1) } else { consumeOfConnection(Int32(padding + 1)) }
        }
        if reading.dataLeft > 0 {
            let count = min(reading.dataLeft, bytes.byteCount - at)
            reading.dataLeft -= count
            if count > 0 { takeBody(bytes.extracting(at..<at + count)) }
            at += count
        }
        if reading.dataLeft == 0 {
            let count = min(reading.paddingLeft, bytes.byteCount - at)
            reading.paddingLeft -= count
            at += count
            if reading.paddingLeft == 0 { endData() }
        }
        return at
    }

    @inline(__always)
    private func takeBody(_ bytes: RawSpan) {
        let slot = reading.dataSlot
        guard slot >= 0 else { return consumeOfConnection(Int32(truncatingIfNeeded: bytes.byteCount)) }
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.bodyBytes += bytes.byteCount
        guard unsafe stream.pointee.fitsAnnounced(ended: false) else {
            return resetProvoked(slot, HTTP2ErrorCode.protocolError)
        }
        unsafe owner.requestBody(slot, bytes)
    }

    @inline(__always)
    private func endData() {
        reading.isInData = false
        if reading.dataEnds && reading.dataSlot >= 0 { ended(reading.dataSlot) }
    }

    /// A stream that is or was open.
    @inline(__always)
    private func isKnown(_ streamID: Int32) -> Bool { streamID & 1 == 1 && streamID <= highestSeenID }

    /// Gives the window of bytes that have been dealt with back to the peer.
    package func consume(_ slot: Int, _ count: Int) {
        let count = Int32(truncatingIfNeeded: count)
        consumeOfConnection(count)
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.consumed += count
        guard unsafe stream.pointee.consumed >= limits.streamWindow / 2 && !stream.pointee.remoteEnded else { return }
        unsafe control.appendFrame(
            FrameHeader.Kind.windowUpdate, stream: stream.pointee.streamID, word: UInt32(bitPattern: stream.pointee.consumed))
        unsafe stream.pointee.received -= stream.pointee.consumed
        unsafe stream.pointee.consumed = 0
    }

    func consumeOfConnection(_ count: Int32) {
        consumed += count
        guard consumed >= limits.connectionWindow / 2 else { return }
        control.appendFrame(FrameHeader.Kind.windowUpdate, word: UInt32(bitPattern: consumed))
        received -= consumed
        consumed = 0
    }

    // MARK: The rest

    private func takeWindowUpdate(_ header: FrameHeader, _ payload: RawSpan) {
        guard header.length == 4 else { return fail(HTTP2ErrorCode.frameSizeError, "WINDOW_UPDATE") }
        let more = Int(payload.word(at: 0) & 0x7fff_ffff)
        if header.streamID == 0 {
            guard more > 0 else { return fail(HTTP2ErrorCode.protocolError, "WINDOW_UPDATE of 0") }
            guard sendWindow + more <= Int(Int32.max) else { return fail(HTTP2ErrorCode.flowControlError, "WINDOW_UPDATE") }
            sendWindow += more
            return
        }
        guard isKnown(header.streamID) else { return fail(HTTP2ErrorCode.protocolError, "WINDOW_UPDATE of an idle stream") }
        guard let slot = index[header.streamID] else { return }
        guard more > 0 else { return resetProvoked(slot, HTTP2ErrorCode.protocolError) }
        let stream = unsafe streams.pointer(slot)
        guard unsafe stream.pointee.sendWindow + pendingWindowChange + more <= Int(Int32.max) else {
            return resetProvoked(slot, HTTP2ErrorCode.flowControlError)
        }
        unsafe stream.pointee.sendWindow += more
        if unsafe stream.pointee.queuedBytes > 0 { unsafe schedule(slot, stream) }
    }

    private func takeReset(_ header: FrameHeader, _ payload: RawSpan) {
        guard header.length == 4 else { return fail(HTTP2ErrorCode.frameSizeError, "RST_STREAM") }
        guard isKnown(header.streamID) else { return fail(HTTP2ErrorCode.protocolError, "RST_STREAM of an idle stream") }
        guard let slot = index[header.streamID] else { return }
        guard resets.take() else { return fail(HTTP2ErrorCode.enhanceYourCalm, "too many streams were reset") }
        close(slot, payload.word(at: 0))
    }

    private func takePing(_ header: FrameHeader, _ payload: RawSpan) {
        guard header.streamID == 0 else { return fail(HTTP2ErrorCode.protocolError, "PING on a stream") }
        guard header.length == 8 else { return fail(HTTP2ErrorCode.frameSizeError, "PING") }
        if header.has(FrameHeader.acknowledge) { return unsafe owner.pingAcknowledged() }
        guard acknowledgementMayWait() else { return }
        control.append(addingCapacity: FrameHeader.size + 8) { output in
            output.appendFrame(FrameHeader.Kind.ping, flags: FrameHeader.acknowledge, stream: 0, length: 8)
            output.append(payload)
        }
        unsafe owner.pingReceived()
    }

    private func acknowledgementMayWait() -> Bool {
        waitingAcknowledgements += 1
        if waitingAcknowledgements > limits.acknowledgementsMax { fail(HTTP2ErrorCode.enhanceYourCalm, "flood") }
        return !isFinished
    }

    private func takeSettings(_ header: FrameHeader, _ payload: RawSpan) {
        guard header.streamID == 0 else { return fail(HTTP2ErrorCode.protocolError, "SETTINGS on a stream") }
        if header.has(FrameHeader.acknowledge) {
            if header.length != 0 { fail(HTTP2ErrorCode.frameSizeError, "SETTINGS") }
            return
        }
        guard header.length % 6 == 0 else { return fail(HTTP2ErrorCode.frameSizeError, "SETTINGS") }
        guard header.length <= 6 * limits.settingsMax else { return fail(HTTP2ErrorCode.enhanceYourCalm, "too many settings") }
        for at in stride(from: 0, to: header.length, by: 6) {
            let value = payload.word(at: at + 2)
            switch Int(payload[byte: at]) << 8 | Int(payload[byte: at + 1]) {
            case 1: answerHeaders.peerAllows(value)
            case 2 where value > 1: return fail(HTTP2ErrorCode.protocolError, "ENABLE_PUSH")
            case 4:
                guard value <= UInt32(Int32.max) else { return fail(HTTP2ErrorCode.flowControlError, "INITIAL_WINDOW_SIZE") }
                pendingWindowChange += Int(value) - peerStreamWindow
                peerStreamWindow = Int(value)
            case 5 where value < 16_384 || value > 16_777_215: return fail(HTTP2ErrorCode.protocolError, "MAX_FRAME_SIZE")
            default: break
            }
        }
        reading.isGreeted = true
        guard acknowledgementMayWait() else { return }
        control.append(addingCapacity: FrameHeader.size) { output in
            output.appendFrame(FrameHeader.Kind.settings, flags: FrameHeader.acknowledge, stream: 0, length: 0)
        }
    }

    /// Once for all that came together: every open stream is visited.
    private func applyWindowChange() {
        let change = pendingWindowChange
        pendingWindowChange = 0
        if isFinished { return }
        for slot in unsafe 0..<streams.slotCount {
            let stream = unsafe streams.pointer(slot)
            guard unsafe stream.pointee.isOpen else { continue }
            unsafe stream.pointee.sendWindow += change
            guard unsafe stream.pointee.sendWindow <= Int(Int32.max) else {
                return fail(HTTP2ErrorCode.flowControlError, "INITIAL_WINDOW_SIZE")
            }
            if unsafe stream.pointee.queuedBytes > 0 { unsafe schedule(slot, stream) }
        }
    }
}
