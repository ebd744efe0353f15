// libFuzzer target for what comes from members and from files: the streams between members, HTTP/1 and WebSockets, logs,
// snapshots and database files. The first byte chooses what the rest is read as. Built by run.sh.
//
// Checksums are put right before a file is read, or nothing behind them would ever be looked at.

@testable import FileFormats
@testable import Foundations
@testable import HTTP1
@testable import PeerWire
@testable import Raft
@testable import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let rest = Array(input[1...])
    switch input[0] % 10 {
    case 0: fuzzMessages(rest)
    case 1: fuzzAppends(rest)
    case 2: fuzzRequests(rest)
    case 3: fuzzResponses(rest)
    case 4: fuzzSocket(rest)
    case 5: fuzzLog(rest)
    case 6: fuzzRecords(rest)
    case 7: fuzzSnapshotFile(rest)
    case 8: fuzzDatabase(rest)
    default: fuzzDatabaseStream(rest)
    }
    return 0
}

private let cuts = [1, 3, 8, 61]

/// However bytes are cut, the same comes of them.
private func sameHoweverCut<Outcome: Equatable>(_ bytes: [UInt8], _ outcome: ([ArraySlice<UInt8>]) -> Outcome) {
    let whole = outcome([bytes[...]])
    for step in cuts {
        let pieces = stride(from: 0, to: bytes.count, by: step).map { bytes[$0..<min($0 + step, bytes.count)] }
        precondition(outcome(pieces) == whole, "cut by \(step) it is something else")
    }
}

private struct Heard: Equatable {
    var messages: [Message] = []
    var failure: PeerWireError?
}

private func fuzzMessages(_ bytes: [UInt8]) {
    sameHoweverCut(bytes) { pieces in
        var decoder = MessageStreamDecoder(frameBytesMax: 4096)
        var heard = Heard()
        do throws(PeerWireError) {
            for piece in pieces { try decoder.feed(Array(piece).rawSpan) { heard.messages.append($0) } }
        } catch { heard.failure = error }
        for message in heard.messages { survives(message) }
        return heard
    }
}

private func fuzzAppends(_ bytes: [UInt8]) {
    sameHoweverCut(bytes) { pieces in
        var decoder = AppendStreamDecoder(from: MemberID(1), to: MemberID(2), frameBytesMax: 4096)
        var heard = Heard()
        do throws(PeerWireError) {
            for piece in pieces { try decoder.feed(Array(piece).rawSpan) { heard.messages.append($0) } }
        } catch { heard.failure = error }
        for message in heard.messages { survives(message) }
        return heard
    }
}

private func survives(_ message: Message) {
    var bytes: [UInt8] = []
    MessageCodec.append(message, to: &bytes)
    precondition(bytes.count == MessageCodec.size(message), "counted differently")
    guard let again = try? MessageCodec.decode(bytes.rawSpan) else { fatalError("does not read what it wrote") }
    precondition(again == message, "another message after a round")
}

private func fuzzRequests(_ bytes: [UInt8]) {
    sameHoweverCut(bytes) { pieces in
        var parser = RequestParser()
        var requests: [HTTPRequest] = []
        do throws(HTTPError) {
            for piece in pieces {
                try parser.feed(Array(piece).rawSpan) {
                    requests.append($0); return true
                }
            }
        } catch { return (requests.map { [$0.method, $0.target, String(decoding: $0.body, as: UTF8.self)] } + [["\(error)"]]) }
        for request in requests { _ = HTTPTarget(request.target) }
        return requests.map { [$0.method, $0.target, String(decoding: $0.body, as: UTF8.self)] }
    }
}

private func fuzzResponses(_ bytes: [UInt8]) {
    sameHoweverCut(bytes) { pieces in
        var parser = HTTPResponseParser(requestMethod: "GET")
        var seen: [String] = []
        var body: [UInt8] = []
        // What is not taken comes again before the next piece, as from a socket.
        var left: [UInt8] = []
        do throws(HTTPError) {
            for piece in pieces {
                left += piece
                var at = 0
                while let event = try parser.next(left.rawSpan, &at) {
                    switch event {
                    case .informational(let head), .head(let head): seen.append("\(head)")
                    case .body(let range): body += left[range]
                    case .end(let trailers): seen.append("\(trailers)")
                    }
                }
                left.removeFirst(at)
            }
            if try parser.finish() != nil { seen.append("end") }
        } catch { seen.append("\(error)") }
        return seen + [String(decoding: body, as: UTF8.self)]
    }
}

private func fuzzSocket(_ bytes: [UInt8]) {
    sameHoweverCut(bytes) { pieces in
        var parser = WebSocketParser(messageBytesMax: 512)
        var seen: [WebSocketParser.Event] = []
        do throws(WebSocketError) {
            for piece in pieces {
                let chunk = Array(piece)
                var at = 0
                while let event = try parser.next(chunk.rawSpan, &at) {
                    if case .message(let content, let isText) = event {
                        precondition(content.count <= 512)
                        precondition(!isText || String(validating: content, as: UTF8.self) != nil)
                    }
                    seen.append(event)
                }
            }
        } catch { return (seen.map { "\($0)" } + [error.description]) }
        return seen.map { "\($0)" }
    }
}

/// A segment as it lies there, and behind a right beginning.
private func fuzzLog(_ bytes: [UInt8]) {
    var replay = WALReplay(from: LogSnapshot())
    _ = try? replay.read(bytes, file: "first", isLast: true)
    _ = try? replay.finish()
    var throughWindow = WALReplay(from: LogSnapshot())
    try? throughWindow.read(bytes, file: "first", isLast: true, windowBytes: 40)
    precondition(throughWindow.entries == replay.entries && throughWindow.validEnd == replay.validEnd, "another log through a window")
    let opening = WALEncoder.opening(LogIdentity(member: MemberID(1), cluster: ClusterID(2)))
    var second = WALReplay(from: LogSnapshot())
    guard (try? second.read(opening + bytes, file: "second", isLast: true)) != nil else { return }
    precondition(second.validEnd >= opening.count, "what was good is gone")
}

/// Records with right checksums and any content, in any order.
private func fuzzRecords(_ bytes: [UInt8]) {
    var segment = WALEncoder.opening(LogIdentity(member: MemberID(1), cluster: ClusterID(2)))
    var reader = WALSegmentReader(segment, file: "opening", isLast: true, continuing: nil)
    while let record = try? reader.next() { precondition(record.end <= segment.count) }
    var chain = CRC32C(reader.checksum ?? 0)
    var at = 0
    while at + 2 <= bytes.count {
        let kind = UInt64(bytes[at] % 6)
        let count = min(Int(bytes[at + 1]), bytes.count - at - 2)
        let data = Array(bytes[(at + 2)..<(at + 2 + count)])
        at += 2 + count
        chain.update(data.rawSpan)
        var record: [UInt8] = []
        record.appendField(1, number: kind)
        record.appendField(2, number: UInt64(chain.value))
        if kind != WALRecordKind.crc.rawValue { record.appendField(3, bytes: data) }
        segment.appendLittleEndian(WALFrame.lengthWord(recordBytes: record.count))
        segment += record
        while segment.count % 8 != 0 { segment.append(0) }
    }
    var replay = WALReplay(from: LogSnapshot())
    guard (try? replay.read(segment, file: "made", isLast: true)) != nil, (try? replay.finish()) != nil else { return }
    for (i, entry) in replay.entries.enumerated() { precondition(entry.index == LogIndex(i + 1), "a hole in the log") }
}

private func fuzzSnapshotFile(_ bytes: [UInt8]) {
    _ = try? SnapFile(decoding: bytes, file: "as it is")
    var file: [UInt8] = []
    file.appendField(1, number: UInt64(CRC32C.of(bytes)))
    file.appendField(2, bytes: bytes)
    guard let read = try? SnapFile(decoding: file, file: "enveloped") else { return }
    guard let again = try? SnapFile(decoding: read.encoded(), file: "again") else { fatalError("does not read what it wrote") }
    precondition(again == read, "another snapshot after a round")
}

/// Pages of 512 bytes: the first two get the marks and checksums of meta pages, with the numbers that came.
private func database(_ bytes: [UInt8]) -> [UInt8] {
    let pageBytes = 512
    var image = bytes + [UInt8](repeating: 0, count: (pageBytes - bytes.count % pageBytes) % pageBytes)
    for id in 0..<2 where image.count >= (id + 1) * pageBytes {
        let body = id * pageBytes + Bolt.headerBytes
        func put(_ number: UInt64, _ size: Int, at offset: Int) {
            for i in 0..<size { image[body + offset + i] = UInt8(truncatingIfNeeded: number >> UInt64(8 * i)) }
        }
        put(UInt64(Bolt.magic), 4, at: 0)
        put(UInt64(Bolt.version), 4, at: 4)
        put(UInt64(pageBytes), 4, at: 8)
        // Numbers of pages in a few bits, so that they are often right.
        for offset in [16, 32, 40] { put(UInt64(image[body + offset] % 16), 8, at: offset) }
        put(Bolt.fnv1a(image.rawSpan.extracting(body..<(body + 56))), 8, at: 56)
    }
    // Every page says its own number, half of the time.
    for page in 0..<image.count / pageBytes where image[page * pageBytes] % 2 == 0 {
        for i in 0..<8 { image[page * pageBytes + i] = i == 0 ? UInt8(page) : 0 }
    }
    return image
}

private func fuzzDatabase(_ bytes: [UInt8]) {
    let file = database(bytes)
    guard let image = try? BoltImage(file) else { return }
    var pairs = 0
    if let buckets = try? image.buckets() {
        for (_, bucket) in buckets {
            do throws(BoltDamage) { try image.forEach(bucket) { _, _ in pairs += 1 } } catch { continue }
        }
    }
    precondition(pairs <= file.count, "more pairs than bytes")
    _ = try? SnapshotStatus(image)
    _ = try? image.check()
}

private func fuzzDatabaseStream(_ bytes: [UInt8]) {
    let file = database(bytes)
    let trees = BoltTree.parse("key=2-\(3 + (bytes.first ?? 0) % 8):\((bytes.last ?? 0) % 8)") ?? []
    sameHoweverCut(file) { pieces in
        var stream = BoltStream(trees)
        var seen: [String] = []
        do throws(BoltDamage) {
            for piece in pieces {
                try stream.feed(Array(piece).rawSpan) { bucket, key, value in
                    seen.append("\(bucket) \(key.byteCount) \(value.byteCount)")
                }
            }
            try stream.finish()
        } catch { seen.append(error.description) }
        return seen + stream.buckets
    }
}
