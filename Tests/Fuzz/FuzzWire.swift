// libFuzzer target for everything that reads bytes from clients and peers without a socket: messages, views, JSON and
// its transcoding, gRPC frames and headers. The first byte chooses what the rest is read as. Built by run.sh together with
// the sources of the modules, as one module: no imports.

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
