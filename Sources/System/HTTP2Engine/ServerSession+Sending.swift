// What goes to the peer. Frames that belong to the connection go first; then streams take turns, a frame of a body each. The
// answer of a unary call that fits its windows is written in one go: head, body and trailers, straight to where they leave.

import Foundations

extension ServerSession {
    // MARK: Answers

    /// Starts or continues an answer: call after changing `outbound` or `trailers`. `head` is used when the head has not
    /// been sent yet.
    package func respond(_ slot: Int, head: ResponseHead) {
        let stream = unsafe streams.pointer(slot)
        unsafe count(stream)
        if unsafe !stream.pointee.headSent {
            unsafe stream.pointee.headSent = true
            if head.isGRPC {
                unsafe stream.pointee.pendingHead = .grpc
            } else {
                unsafe stream.pointee.pendingHead = .block
                unsafe head.appendBlock(to: &stream.pointee.headBlock)
            }
        }
        unsafe schedule(slot, stream)
    }

    /// `respond` with the head of every gRPC answer.
    package func respondGRPC(_ slot: Int) {
        let stream = unsafe streams.pointer(slot)
        unsafe count(stream)
        if unsafe !stream.pointee.headSent {
            unsafe stream.pointee.headSent = true
            unsafe stream.pointee.pendingHead = .grpc
        }
        unsafe schedule(slot, stream)
    }

    /// An answer that is nothing but its head, ending the stream: gRPC's trailers-only form.
    package func respondHeadOnly(_ slot: Int, head: ResponseHead) {
        let stream = unsafe streams.pointer(slot)
        unsafe stream.pointee.headSent = true
        unsafe stream.pointee.pendingHead = .onlyBlock
        unsafe head.appendBlock(to: &stream.pointee.headBlock)
        unsafe schedule(slot, stream)
    }

    /// Takes what the owner added to the queue into the sum.
    @inline(__always)
    private func count(_ stream: UnsafeMutablePointer<ServerStream>) {
        let now = unsafe stream.pointee.queuedBytes
        unsafe queuedBytes += now - stream.pointee.counted
        unsafe stream.pointee.counted = now
    }

    /// The stream has something to send, or may have.
    @inline(__always)
    func schedule(_ slot: Int, _ stream: UnsafeMutablePointer<ServerStream>) {
        if unsafe stream.pointee.waits == .nowhere { unsafe forTurn.append(slot, .forTurn, &streams) }
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

    private func tellRoom() {
        let waiting = room
        room.removeAll(keepingCapacity: true)
        for (slot, serial) in waiting where isCurrent(slot, serial) { unsafe owner.roomAvailable(slot) }
    }

    // MARK: Output

    /// Appends the next pieces of output until there is no more or `output` holds `limit` bytes.
    package func send(into output: inout [UInt8], limit: Int) {
        if !control.isEmpty {
            output.append(contentsOf: control)
            control.removeAll(keepingCapacity: control.capacity <= 4096)
            waitingAcknowledgements = 0
        }
        while output.count < limit && !isFinished {
            if sendWindow > 0 && !forConnection.isEmpty {
                let slot = Int(forConnection.first)
                unsafe forConnection.remove(slot, &streams)
                serve(slot, &output)
            } else if !forTurn.isEmpty {
                let slot = Int(forTurn.first)
                unsafe forTurn.remove(slot, &streams)
                serve(slot, &output)
            } else {
                break
            }
        }
        if !room.isEmpty { tellRoom() }
    }

    /// What a frame of a body and what is around it take at most, beside the body.
    private static let aroundBytes = 3 * FrameHeader.size + 2 * AnswerHeaders.bytesMax

    /// One turn of a stream: its head if that has not gone, as much of its body as fits a frame, its trailers if that was all.
    @inline(__always)
    private func serve(_ slot: Int, _ output: inout [UInt8]) {
        let stream = unsafe streams.pointer(slot)
        guard unsafe stream.pointee.headSent else { return }
        turnsTaken &+= 1
        if unsafe stream.pointee.pendingHead == .block || stream.pointee.pendingHead == .onlyBlock {
            if unsafe sendBlock(stream, &output) { return unsafe answerSent(slot, stream, &output) }
        }
        let start = unsafe stream.pointee.outboundStart
        let waiting = unsafe stream.pointee.queuedBytes
        let count = unsafe max(0, min(waiting, stream.pointee.sendWindow, sendWindow, FrameHeader.payloadMax))
        let end: End = if count < waiting { .open } else { unsafe End(stream.pointee.trailers) }
        let needsHead = unsafe stream.pointee.pendingHead == .grpc
        unsafe stream.pointee.pendingHead = .none
        let id = unsafe stream.pointee.streamID
        unsafe stream.pointee.outbound.withUnsafeBytes { bytes in
            let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]).bytes
            output.append(addingCapacity: count + ServerSession.aroundBytes) { output in
                if needsHead {
                    output.appendFrame(
                        FrameHeader.Kind.headers, flags: FrameHeader.endHeaders, stream: id, length: answerHeaders.headBytes)
                    answerHeaders.appendHead(to: &output)
                }
                if count > 0 || end == .body {
                    output.appendFrame(
                        FrameHeader.Kind.data, flags: end == .body ? FrameHeader.endStream : 0, stream: id, length: count)
                    output.append(piece)
                }
                if end == .ok {
                    output.appendFrame(
                        FrameHeader.Kind.headers, flags: FrameHeader.endHeaders | FrameHeader.endStream, stream: id,
                        length: answerHeaders.trailerBytes)
                    answerHeaders.appendTrailers(to: &output)
                }
            }
        }
        unsafe sent(count, of: waiting, slot, stream)
        switch end {
        case .open: break
        case .status:
            unsafe sendStatus(stream, &output)
            unsafe answerSent(slot, stream, &output)
        case .body, .ok: unsafe answerSent(slot, stream, &output)
        }
    }

    /// What the end of the queue is to the stream.
    private enum End {
        /// More may come.
        case open
        case ok
        case status
        /// The end of the stream itself.
        case body

        @inline(__always)
        init(_ trailers: borrowing ServerStream.Trailers?) {
            switch trailers {
            case nil: self = .open
            case .some(.ok): self = .ok
            case .some(.status): self = .status
            case .some(.none): self = .body
            }
        }
    }

    /// Accounts for a piece of the body, and lets the stream wait for what it needs to go on.
    @inline(__always)
    private func sent(_ count: Int, of waiting: Int, _ slot: Int, _ stream: UnsafeMutablePointer<ServerStream>) {
        if count > 0 {
            unsafe stream.pointee.sendWindow -= count
            sendWindow -= count
            unsafe stream.pointee.outboundStart += count
            unsafe stream.pointee.counted -= count
            queuedBytes -= count
            if unsafe stream.pointee.wantsRoom && waiting - count <= limits.lowWater {
                unsafe stream.pointee.wantsRoom = false
                unsafe room.append((slot, stream.pointee.serial))
            }
        }
        if count == waiting {
            if waiting > 0 { unsafe empty(stream) }
            return
        }
        if unsafe stream.pointee.outboundStart > 1 << 20 {
            // A long queue is cut at its front now and then, not at every piece.
            unsafe stream.pointee.outbound.removeSubrange(0..<stream.pointee.outboundStart)
            unsafe stream.pointee.outboundStart = 0
        }
        // Without a window of its own the stream comes back with WINDOW_UPDATE.
        guard unsafe stream.pointee.sendWindow > 0 else { return }
        if sendWindow > 0 {
            unsafe forTurn.append(slot, .forTurn, &streams)
        } else {
            unsafe forConnection.append(slot, .forConnection, &streams)
        }
    }

    /// The queue has been sent: a small buffer stays for the next answer, a large one goes to whoever needs it next.
    @inline(__always)
    private func empty(_ stream: UnsafeMutablePointer<ServerStream>) {
        if unsafe stream.pointee.outbound.capacity < SpareBuffers.bufferBytes.lowerBound {
            unsafe stream.pointee.outbound.removeAll(keepingCapacity: true)
        } else {
            unsafe spares.give(&stream.pointee.outbound)
        }
        unsafe stream.pointee.outboundStart = 0
    }

    /// True when the head was all.
    private func sendBlock(_ stream: UnsafeMutablePointer<ServerStream>, _ output: inout [UInt8]) -> Bool {
        let isAll = unsafe stream.pointee.pendingHead == .onlyBlock
        unsafe stream.pointee.pendingHead = .none
        unsafe answerHeaders.begin(&stream.pointee.headBlock)
        unsafe output.appendHeaders(stream.pointee.headBlock, stream: stream.pointee.streamID, endsStream: isAll)
        unsafe stream.pointee.headBlock.removeAll(keepingCapacity: stream.pointee.headBlock.capacity <= 4096)
        return isAll
    }

    private func sendStatus(_ stream: UnsafeMutablePointer<ServerStream>, _ output: inout [UInt8]) {
        guard case .status(let code, let message)? = unsafe stream.pointee.trailers else { return }
        var block: [UInt8] = []
        ResponseHead.trailers(code: code, message: message).appendBlock(to: &block)
        answerHeaders.begin(&block)
        unsafe output.appendHeaders(block, stream: stream.pointee.streamID, endsStream: true)
    }

    /// An answer has been sent whole. A peer that has not sent all of its request is told that nobody reads the rest; the
    /// stream would stay half open until it did.
    @inline(__always)
    private func answerSent(_ slot: Int, _ stream: UnsafeMutablePointer<ServerStream>, _ output: inout [UInt8]) {
        if unsafe !stream.pointee.remoteEnded {
            unsafe output.appendFrame(
                FrameHeader.Kind.reset, stream: stream.pointee.streamID, word: HTTP2ErrorCode.noError)
        }
        close(slot, HTTP2ErrorCode.noError)
    }
}
