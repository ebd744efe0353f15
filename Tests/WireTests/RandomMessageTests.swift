import Foundations
import Glibc
import JSON
import TestSupport
import Testing
import Wire

/// Python's protobuf writes random messages of every type; ours must read them and write the same bytes. More with
/// COVEY_WIRE_MESSAGES=1000000, one seed again with COVEY_SEED=7.
@Suite struct RandomMessageTests {
    private static let seed =
        RealTools.environment("COVEY_SEED").flatMap { UInt64($0) } ?? UInt64.random(in: 1..<1_000_000_000)
    private static let count = RealTools.environment("COVEY_WIRE_MESSAGES").flatMap { Int($0) } ?? 50_000

    @Test(.enabled(if: RealTools.required(RealTools.python), "needs .deps/venv/bin/python"))
    func `random messages of another implementation read and write back`() throws {
        let python = try #require(RealTools.python)
        print("random messages: seed \(Self.seed), count \(Self.count)")
        let script = RealTools.root + "/Tests/WireTests/Data/random_messages.py"
        let protos = RealTools.root + "/Sources/Core/Wire/Protos"
        let pipe = try #require(popen("\(python) \(script) \(protos) \(Self.seed) \(Self.count)", "r"))
        var random = SeededRandom(seed: Self.seed)
        var index = 0
        var failures = 0
        while failures < 10, let name = frame(pipe), let bytes = frame(pipe) {
            let type = try #require(AllMessages.type(named: String(decoding: name, as: UTF8.self)))
            if let reason = try problem(type, bytes, &random) {
                Issue.record("seed \(Self.seed) message \(index): \(type) \(Hexadecimal.encode(bytes)): \(reason)")
                failures += 1
            }
            index += 1
        }
        let status = pclose(pipe)
        if failures == 0 {
            #expect(status == 0)
            #expect(index == Self.count)
        }
    }

    private func problem<M: WireMessage>(_: M.Type, _ bytes: Bytes, _ random: inout SeededRandom) throws -> String? {
        let message: M
        do { message = try M(decoding: bytes) } catch { return "refused: \(error)" }
        let encoded = message.encoded()
        if encoded != bytes { return "written back as \(Hexadecimal.encode(encoded))" }
        if let reason = viewProblem(message, bytes) { return reason }

        var writer = JSONWriter()
        try writer.message(bytes.rawSpan, as: M.descriptor)
        let read: M = try JSONValue(parsing: writer.bytes).decoded()
        if read != message { return "JSON \(String(decoding: writer.bytes, as: UTF8.self))" }
        writer = JSONWriter()
        try writer.message(bytes.rawSpan, as: M.descriptor, style: .goStruct)
        _ = try JSONValue(parsing: writer.bytes)

        // Merging two encodings is decoding one behind the other.
        var twice = try M(decoding: bytes + bytes)
        var merged = message
        try merged.merge(decoding: bytes.rawSpan)
        if merged != twice { return "merging differs from concatenating" }
        twice = try M(decoding: twice.encoded())
        if merged != twice { return "the merged message does not survive" }
        return damageProblem(M.self, bytes, &random)
    }

    /// Damaged bytes are refused, or are another message that survives a round.
    private func damageProblem<M: WireMessage>(_: M.Type, _ bytes: Bytes, _ random: inout SeededRandom) -> String? {
        guard !bytes.isEmpty else { return nil }
        var damaged = bytes
        switch Int.random(in: 0..<3, using: &random) {
        case 0: damaged.removeLast(Int.random(in: 1...bytes.count, using: &random))
        case 1: damaged[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        default:
            damaged.insert(.random(in: 0...255, using: &random), at: Int.random(in: 0..<bytes.count, using: &random))
        }
        guard let message = try? M(decoding: damaged) else { return nil }  // Refused is one of the two good ends.
        guard let again = try? M(decoding: message.encoded()), again == message else {
            return "damaged to \(Hexadecimal.encode(damaged)) it does not survive a round"
        }
        return nil
    }

    private func frame(_ pipe: UnsafeMutablePointer<FILE>) -> Bytes? {
        guard let header = take(4, pipe) else { return nil }
        return take(header.reduce(0) { $0 << 8 | Int($1) }, pipe)
    }

    private func take(_ count: Int, _ pipe: UnsafeMutablePointer<FILE>) -> Bytes? {
        if count == 0 { return [] }
        var bytes = Bytes(repeating: 0, count: count)
        return fread(&bytes, 1, count, pipe) == count ? bytes : nil
    }
}

/// What a view shows that its message does not, or nil.
func viewProblem(_ message: some WireMessage, _ bytes: Bytes) -> String? {
    do {
        switch message {
        case let message as PutRequest: return try putProblem(message, bytes)
        case let message as RangeRequest: return try rangeProblem(message, bytes)
        case let message as KeyValue: return try keyValueProblem(message, bytes)
        case let message as DeleteRangeRequest:
            let view = try DeleteRangeRequestView(decoding: bytes.rawSpan)
            let same = message.key == Bytes(view.key) && message.rangeEnd == Bytes(view.rangeEnd)
            return same && message.prevKv == view.prevKv ? nil : "view differs"
        case let message as TxnRequest: return try txnProblem(message, bytes)
        case let message as Compare: return try compareProblem(message, bytes)
        case let message as InternalRaftRequest: return try internalProblem(message, bytes)
        case let message as RaftPB.Entry:
            let view = try RaftPB.EntryView(decoding: bytes.rawSpan)
            let data = view.hasData ? Bytes(view.data) : nil
            let same = message.type == view.type && message.term == view.term && message.index == view.index
            return same && data == message.data ? nil : "view differs"
        case let message as ResponseHeader:
            let view = try ResponseHeaderView(decoding: bytes.rawSpan)
            let same = message.clusterId == view.clusterId && message.memberId == view.memberId
            return same && message.revision == view.revision && message.raftTerm == view.raftTerm ? nil : "view differs"
        default: return nil
        }
    } catch {
        return "the view refuses: \(error)"
    }
}

private func putProblem(_ message: PutRequest, _ bytes: Bytes) throws -> String? {
    let view = try PutRequestView(decoding: bytes.rawSpan)
    let read = PutRequest(
        key: Bytes(view.key), value: Bytes(view.value), lease: view.lease, prevKv: view.prevKv,
        ignoreValue: view.ignoreValue, ignoreLease: view.ignoreLease)
    return read == message ? nil : "view differs"
}

private func rangeProblem(_ message: RangeRequest, _ bytes: Bytes) throws -> String? {
    let view = try RangeRequestView(decoding: bytes.rawSpan)
    let read = RangeRequest(
        key: Bytes(view.key), rangeEnd: Bytes(view.rangeEnd), limit: view.limit, revision: view.revision,
        sortOrder: view.sortOrder, sortTarget: view.sortTarget, serializable: view.serializable,
        keysOnly: view.keysOnly,
        countOnly: view.countOnly, minModRevision: view.minModRevision, maxModRevision: view.maxModRevision,
        minCreateRevision: view.minCreateRevision, maxCreateRevision: view.maxCreateRevision)
    return read == message ? nil : "view differs"
}

private func keyValueProblem(_ message: KeyValue, _ bytes: Bytes) throws -> String? {
    let view = try KeyValueView(decoding: bytes.rawSpan)
    let read = KeyValue(
        key: Bytes(view.key), createRevision: view.createRevision, modRevision: view.modRevision, version: view.version,
        value: Bytes(view.value), lease: view.lease)
    return read == message ? nil : "view differs"
}

private func txnProblem(_ message: TxnRequest, _ bytes: Bytes) throws -> String? {
    let view = try TxnRequestView(decoding: bytes.rawSpan)
    guard view.compare.count == message.compare.count, view.success.count == message.success.count else {
        return "view counts differ"
    }
    var compares = view.compare.makeIterator()
    for compare in message.compare {
        guard let bytes = compares.next() else { return "a compare is missing" }
        if let reason = try compareProblem(compare, Bytes(bytes)) { return reason }
    }
    var operations = view.success.makeIterator()
    for operation in message.success {
        guard let bytes = operations.next() else { return "an operation is missing" }
        let view = try RequestOpView(decoding: bytes)
        switch (operation.request, view.requestField) {
        case (nil, 0): break
        case (.requestRange(let range)?, 1):
            if try RangeRequest(decoding: view.requestRange) != range { return "range" }
        case (.requestPut(let put)?, 2): if try PutRequest(decoding: view.requestPut) != put { return "put" }
        case (.requestDeleteRange(let delete)?, 3):
            if try DeleteRangeRequest(decoding: view.requestDeleteRange) != delete { return "delete" }
        case (.requestTxn(let txn)?, 4): if try TxnRequest(decoding: view.requestTxn) != txn { return "txn" }
        default: return "another operation"
        }
    }
    return operations.next() == nil ? nil : "one operation more"
}

private func compareProblem(_ message: Compare, _ bytes: Bytes) throws -> String? {
    let view = try CompareView(decoding: bytes.rawSpan)
    var read = Compare(
        result: view.result, target: view.target, key: Bytes(view.key), targetUnion: nil, rangeEnd: Bytes(view.rangeEnd)
    )
    switch view.targetUnionField {
    case 4: read.targetUnion = .version(view.version)
    case 5: read.targetUnion = .createRevision(view.createRevision)
    case 6: read.targetUnion = .modRevision(view.modRevision)
    case 7: read.targetUnion = .value(Bytes(view.value))
    case 8: read.targetUnion = .lease(view.lease)
    default: break
    }
    return read == message ? nil : "view differs"
}

private func internalProblem(_ message: InternalRaftRequest, _ bytes: Bytes) throws -> String? {
    let view = try InternalRaftRequestView(decoding: bytes.rawSpan)
    guard view.id == message.id, view.hasHeader == (message.header != nil) else { return "view differs" }
    if let header = message.header {
        guard view.header.id == header.id, Bytes(view.header.username) == Array(header.username.utf8),
            view.header.authRevision == header.authRevision
        else { return "header differs" }
    }
    guard (message.kind == nil) == (view.kindField == 0) else { return "kind differs" }
    guard view.id == 0, let header = message.header, view.kindField != 0 else { return nil }
    var assembled: Bytes = []
    InternalRaftRequest.append(to: &assembled, header: header, kindField: view.kindField, body: view.body)
    return assembled == bytes ? nil : "assembled as \(Hexadecimal.encode(assembled))"
}
