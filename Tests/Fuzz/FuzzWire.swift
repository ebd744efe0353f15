// libFuzzer target for everything that reads bytes from clients and peers without a socket: messages, views, JSON and
// its transcoding, gRPC frames and headers, HTTP/2 and header blocks. The first byte chooses what the rest is read as. Built by run.sh.

@testable import Foundations
@testable import GRPC
@testable import HTTP2Engine
@testable import JSON
@testable import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let rest = Array(input[1...])
    switch Int(input[0]) {
    case let index where index < AllMessages.types.count: fuzzMessage(AllMessages.types[index], rest)
    case 240: fuzzViews(rest)
    case 241: fuzzJSON(rest, TxnRequest.descriptor)
    case 242: fuzzJSON(rest, RangeResponse.descriptor)
    case 243: fuzzFrames(rest)
    case 244: fuzzHeaders(rest)
    case 245:
        if let plain = try? Gzip.decompress(rest.rawSpan, bytesMax: 100_000) { precondition(plain.count <= 100_000) }
    case 246: fuzzSession(rest)
    case 247: fuzzBlocks(rest)
    default: fuzzSplitter(rest)
    }
    return 0
}

/// What decodes must survive a round, in bytes and in JSON.
private func fuzzMessage<M: WireMessage>(_: M.Type, _ bytes: [UInt8]) {
    guard let message = try? M(decoding: bytes) else { return }
    let encoded = message.encoded()
    precondition(encoded.count == message.encodedSize, "counted differently")
    guard let again = try? M(decoding: encoded) else { fatalError("does not read what it wrote") }
    precondition(again == message, "another message after a round")
    precondition(again.encoded() == encoded, "other bytes after a round")
    var writer = JSONWriter(escapesHTML: true)
    writer.message(message)
    guard let value = try? JSONValue(parsing: writer.bytes) else { fatalError("wrote what is not JSON") }
    guard let read = try? value.decoded(M.self) else { fatalError("the JSON does not read back") }
    precondition(read == message, "another message after JSON")
    inspect(bytes, as: M.descriptor)
}

private func fuzzViews(_ bytes: [UInt8]) {
    if let put = try? PutRequest(decoding: bytes) {
        guard let view = try? PutRequestView(decoding: bytes.rawSpan) else { fatalError("the view refuses") }
        precondition(Array(view.key) == put.key && Array(view.value) == put.value && view.lease == put.lease)
    }
    if let view = try? TxnRequestView(decoding: bytes.rawSpan) {
        var count = 0
        var operations = view.success.makeIterator()
        while let bytes = operations.next() {
            count += 1
            _ = try? RequestOpView(decoding: bytes)
        }
        precondition(count == view.success.count)
    }
    if let view = try? InternalRaftRequestView(decoding: bytes.rawSpan), view.kindField != 0 {
        precondition(InternalRaftRequest.KindField.contains(view.kindField))
    }
}

private func fuzzJSON(_ text: [UInt8], _ descriptor: MessageDescriptor) {
    guard let value = try? JSONValue(parsing: text) else { return }
    guard let again = try? JSONValue(parsing: value.text(escapingHTML: true)) else { fatalError("does not read back") }
    precondition(again == value, "another value after a round")
    guard let encoded = try? value.encoded(as: descriptor) else { return }
    inspect(encoded, as: descriptor)
}

private func inspect(_ bytes: [UInt8], as descriptor: MessageDescriptor) {
    var writer = JSONWriter()
    do {
        try writer.message(bytes.rawSpan, as: descriptor)
    } catch {
        fatalError("JSON refuses \(descriptor.name): \(error)")
    }
}

/// However a stream is cut, the messages are the same.
private func fuzzFrames(_ bytes: [UInt8]) {
    func received(step: Int) -> (messages: [[UInt8]], failed: GRPCStatus?) {
        var deframer = GRPCDeframer(messageBytesMax: 64)
        var messages: [[UInt8]] = []
        do {
            for start in stride(from: 0, to: bytes.count, by: step) {
                let chunk = Array(bytes[start..<min(start + step, bytes.count)])
                try deframer.feed(chunk.rawSpan) { message, _ in messages.append(Array(message)) }
            }
            return (messages, nil)
        } catch {
            return (messages, error)
        }
    }
    let whole = received(step: max(bytes.count, 1))
    for step in [1, 2, 3, 7] {
        let cut = received(step: step)
        precondition(cut.messages == whole.messages && cut.failed == whole.failed)
    }
}

private func fuzzHeaders(_ bytes: [UInt8]) {
    let text = GRPCMessageText.decode(bytes)
    precondition(GRPCMessageText.decode(GRPCMessageText.encode(text)) == text)
    if let nanoseconds = GRPCTimeout.parse(bytes) {
        guard let again = GRPCTimeout.parse(Array(GRPCTimeout.format(nanoseconds: nanoseconds).utf8)) else {
            fatalError("does not read back")
        }
        precondition(again >= nanoseconds)
    }
    _ = GRPCCode(header: bytes)
}

private func fuzzSplitter(_ bytes: [UInt8]) {
    var splitter = JSONSplitter()
    var buffer = bytes
    while !buffer.isEmpty, let end = splitter.endOfValue(in: buffer, isLast: true) {
        precondition(end > 0 && end <= buffer.count)
        buffer.removeFirst(end)
    }
}

/// Answers every request with its body.
private final class FuzzOwner: ServerSessionOwner {
    var session: ServerSession!
    var events: [Int] = []
    private var bodies: [Int: Int] = [:]

    func requestStarted(_ slot: Int) {
        bodies[slot] = 0
        events.append(1)
    }

    func requestBody(_ slot: Int, _ bytes: RawSpan) {
        session.consume(slot, bytes.byteCount)
        bodies[slot, default: 0] += bytes.byteCount
    }

    func requestEnded(_ slot: Int) {
        events += [2, bodies[slot] ?? -1]
        session.withStream(slot) { stream in
            stream.outbound += [UInt8](repeating: 7, count: bodies[slot] ?? 0)
            stream.trailers = stream.isPost ? .ok : .status(code: 5, message: "x")
        }
        session.respondGRPC(slot)
    }

    func streamClosed(_ slot: Int, errorCode: UInt32) { events += [3, Int(errorCode)] }
    func roomAvailable(_ slot: Int) {}
    func pingReceived() { events.append(4) }
    func pingAcknowledged() { events.append(5) }
}

/// However what comes is cut, the same comes of it. A stream or a connection may break, the session not.
private func fuzzSession(_ bytes: [UInt8]) {
    let greeting = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
    func outcome(step: Int) -> (events: [Int], output: [UInt8]) {
        let owner = FuzzOwner()
        let session = ServerSession(owner: owner)
        owner.session = session
        let all = greeting + bytes
        for start in stride(from: 0, to: all.count, by: step) {
            let chunk = Array(all[start..<min(start + step, all.count)])
            if !session.receive(chunk.rawSpan) { break }
        }
        var output: [UInt8] = []
        session.send(into: &output, limit: 1 << 20)
        return (owner.events, output)
    }
    let whole = outcome(step: bytes.count + greeting.count)
    for step in [1, 7, 64] {
        let cut = outcome(step: step)
        precondition(cut.events == whole.events && cut.output == whole.output, "cut by \(step) it is another session")
    }
}

/// Three blocks of one connection.
private func fuzzBlocks(_ bytes: [UInt8]) {
    var decoder = HeaderDecoder()
    for third in 0..<3 {
        let block = Array(bytes[(bytes.count * third / 3)..<(bytes.count * (third + 1) / 3)])
        var fields = FieldList()
        guard (try? decoder.decode(block.rawSpan, into: &fields, bytesMax: 2000)) != nil else { return }
        var size = 0
        fields.forEach { name, value in size += name.count + value.count + 32 }
        precondition(size <= 2000 && decoder.table.size <= 4096, "larger than allowed")
    }
}
