// What a real server was asked and what it answered, replayed on the store: the store's part of each answer has the same
// bytes, and what is refused is refused for the same reason.

import Foundations
import Testing
import Wire

@testable import MVCC

@Suite struct RecordedRequestTests {
    @Test(arguments: ["kv", "txn", "compaction"])
    func `answers are those of a recorded server`(section: String) throws {
        var server = try StoreServer()
        var isInside = false
        var replayed = 0
        for fields in RecordedFiles.fields("recorded.txt", separator: "\t") {
            if fields[0].hasPrefix("= ") {
                isInside = fields[0] == "= \(section)"
                continue
            }
            guard isInside else { continue }
            replayed += 1
            let answer = server.answer(fields[1], StoreServer.request(fields[2]))
            let name: Comment = "\(fields[0])"
            switch answer {
            case .success(let bytes):
                #expect(fields[3] == "0", name)
                let recorded = try StoreServer.masked(fields[1], Hexadecimal.decode(fields[5])!)
                #expect(Hexadecimal.encode(bytes) == Hexadecimal.encode(recorded), name)
            case .failure(let refusal): #expect(fields[4].hasPrefix(refusal.text), name)
            }
        }
        #expect(replayed > 20)
    }
}

/// As much of a server as the store needs around it.
struct StoreServer {
    struct Refusal: Error {
        var text: String
    }

    let store: KeyValueStore

    init() throws { store = try KeyValueStore(InMemoryStore()) }

    static func request(_ text: String) -> [UInt8] {
        if text.hasPrefix("put ") {
            let words = text.split(separator: " ")
            let value = [UInt8](repeating: 0x78, count: Int(words[2])!)
            return PutRequest(key: Array(words[1].utf8), value: value).encoded()
        }
        return Hexadecimal.decode(text)!
    }

    /// The recorded answer without what belongs to that server.
    static func masked(_ method: String, _ bytes: [UInt8]) throws -> [UInt8] {
        func mask(_ header: ResponseHeader?) -> ResponseHeader { ResponseHeader(revision: header?.revision ?? 0) }
        switch method {
        case "Range":
            var message = try RangeResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        case "Put":
            var message = try PutResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        case "DeleteRange":
            var message = try DeleteRangeResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        case "Txn":
            var message = try TxnResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        case "Compact":
            var message = try CompactionResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        default:
            var message = try HashKVResponse(decoding: bytes.rawSpan)
            message.header = mask(message.header)
            return message.encoded()
        }
    }

    mutating func answer(_ method: String, _ request: [UInt8]) -> Result<[UInt8], Refusal> {
        do {
            var body: [UInt8] = []
            switch method {
            case "Range": try range(request, &body)
            case "Put": try put(request, &body)
            case "DeleteRange": try delete(request, &body)
            case "Txn": try txn(request, &body)
            case "Compact":
                try store.compact(CompactionRequest(decoding: request.rawSpan).revision)
                store.compactionStep(budget: .max)
            default:
                let hash = try store.hash(HashKVRequest(decoding: request.rawSpan).revision)
                body = HashKVResponse(hash: hash.hash, compactRevision: hash.compactRevision).encoded()
            }
            let header = ResponseHeader(revision: store.currentRevision).encoded()
            return .success([0x0a, UInt8(header.count)] + header + body)
        } catch let error as Refusal {
            return .failure(error)
        } catch let error as WireError {
            return .failure(Refusal(text: "grpc: error unmarshalling request: \(error)"))
        } catch let error as KeyValueError {
            switch error {
            case .compacted: return .failure(Refusal(text: "etcdserver: mvcc: required revision has been compacted"))
            case .future: return .failure(Refusal(text: "etcdserver: mvcc: required revision is a future revision"))
            case .keyNotFound: return .failure(Refusal(text: "etcdserver: key not found"))
            case .leaseNotFound: return .failure(Refusal(text: "etcdserver: requested lease not found"))
            }
        } catch {
            fatalError("\(error)")
        }
    }

    private func range(_ request: [UInt8], _ body: inout [UInt8]) throws {
        let view = try RangeRequestView(decoding: request.rawSpan)
        if view.key.isEmpty { throw Refusal(text: "etcdserver: key is not provided") }
        let result = try store.range(view.key, view.rangeEnd, RangeOptions(view), into: &body)
        body += RangeResponse(more: result.more, count: result.count).encoded()
    }

    private func put(_ request: [UInt8], _ body: inout [UInt8]) throws {
        let view = try PutRequestView(decoding: request.rawSpan)
        if view.key.isEmpty { throw Refusal(text: "etcdserver: key is not provided") }
        if view.ignoreValue && !view.value.isEmpty { throw Refusal(text: "etcdserver: value is provided") }
        if view.ignoreLease && view.lease != 0 { throw Refusal(text: "etcdserver: lease is provided") }
        if view.lease != 0 { throw KeyValueError.leaseNotFound }
        if view.ignoreValue || view.ignoreLease, store.current(view.key) == nil { throw KeyValueError.keyNotFound }
        if view.prevKv { _ = store.appendCurrent(view.key, field: 0x12, to: &body) }
        store.beginWrite()
        store.put(view)
        store.endWrite()
    }

    private func delete(_ request: [UInt8], _ body: inout [UInt8]) throws {
        let view = try DeleteRangeRequestView(decoding: request.rawSpan)
        if view.key.isEmpty { throw Refusal(text: "etcdserver: key is not provided") }
        store.beginWrite()
        var previous: [UInt8] = []
        let count = store.deleteRange(
            view.key, view.rangeEnd, previousField: view.prevKv ? 0x1a : nil, previous: &previous)
        store.endWrite()
        body += DeleteRangeResponse(deleted: Int64(count)).encoded() + previous
    }

    private func txn(_ request: [UInt8], _ body: inout [UInt8]) throws {
        do {
            try TxnRules.check(request.rawSpan, operationsMax: 128)
        } catch {
            switch error {
            case .malformed(let error): throw error
            case .tooManyOperations: throw Refusal(text: "etcdserver: too many operations in txn request")
            case .emptyKey: throw Refusal(text: "etcdserver: key is not provided")
            case .keyNotFound: throw Refusal(text: "etcdserver: key not found")
            case .valueProvided: throw Refusal(text: "etcdserver: value is provided")
            case .leaseProvided: throw Refusal(text: "etcdserver: lease is provided")
            case .invalidSort: throw Refusal(text: "etcdserver: invalid sort option")
            case .duplicateKey: throw Refusal(text: "etcdserver: duplicate key given in txn request")
            }
        }
        _ = try store.txn(request.rawSpan, leaseExists: { _ in false }, into: &body)
    }
}
