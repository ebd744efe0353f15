import Foundations
import JSON
import Testing
import Wire

/// What real servers sent reads and writes back to the same bytes, and means what Python's protobuf says it means.
@Suite struct RecordedMessageTests {
    private func reencoded<M: WireMessage>(_: M.Type, _ bytes: Bytes) throws -> (Bytes, size: Int) {
        let message = try M(decoding: bytes)
        var behind: Bytes = [1, 2, 3]
        message.append(to: &behind)
        #expect(behind == [1, 2, 3] + message.encoded())
        return (message.encoded(), message.encodedSize)
    }

    @Test func `every recorded message encodes to the bytes it was decoded from`() throws {
        var types: Set<String> = []
        for recorded in Recordings.messages {
            let type = try #require(AllMessages.type(named: recorded.type), "\(recorded)")
            let (bytes, size) = try reencoded(type, recorded.bytes)
            #expect(bytes == recorded.bytes, "\(recorded): \(Hexadecimal.encode(bytes))")
            #expect(size == recorded.bytes.count, "\(recorded)")
            types.insert(recorded.type)
        }
        #expect(types.count > 80)
    }

    @Test func `every recorded reading transcodes both ways`() throws {
        var count = 0
        for recorded in Recordings.messages {
            guard let json = recorded.json else { continue }
            let descriptor = try #require(AllMessages.type(named: recorded.type)).descriptor
            let value = try JSONValue(parsing: json)
            let encoded = try value.encoded(as: descriptor)
            #expect(encoded == recorded.bytes, "\(recorded): \(json)")
            var writer = JSONWriter()
            try writer.message(recorded.bytes.rawSpan, as: descriptor)
            #expect(try JSONValue(parsing: writer.bytes) == value, "\(recorded)")
            count += 1
        }
        #expect(count > 500)
    }

    @Test func `gateway bodies transcode as the gateway did`() throws {
        for columns in Recordings.lines("gateway.txt") {
            let (name, direction, verdict, body) = (columns[0], columns[1], columns[2], columns[3])
            let ending = direction == "request" ? "Request" : "Response"
            let type = try #require(AllMessages.type(named: name + ending))
            guard verdict == "accepted" else {
                #expect(throws: JSONError.self, "\(columns)") { try encode(body, type.descriptor) }
                continue
            }
            let bytes = try encode(body, type.descriptor)
            // Canonical bytes both from the transcoder and from the message type.
            let (again, _) = try reencoded(type, bytes)
            guard direction == "response" else { continue }
            #expect(again == bytes, "\(columns)")
            var writer = JSONWriter(escapesHTML: true)
            try writer.message(bytes.rawSpan, as: type.descriptor)
            #expect(String(decoding: writer.bytes, as: UTF8.self) == body)
        }
    }

    /// The first value of the body, as unary calls read it.
    private func encode(_ body: String, _ descriptor: MessageDescriptor) throws -> Bytes {
        let text = Array(body.utf8)
        var reader = JSONReader(text.rawSpan)
        guard let value = try reader.next() else { return [] }
        return try value.encoded(as: descriptor)
    }

    @Test func `etcdctl's json is the Go struct style`() throws {
        for columns in Recordings.lines("etcdctl-json.txt") {
            let descriptor = try #require(AllMessages.type(named: columns[0])).descriptor
            let json = try JSONValue(parsing: columns[1])
            let bytes = try withoutOneofNames(json).encoded(as: descriptor)
            var writer = JSONWriter(escapesHTML: true)
            try writer.message(bytes.rawSpan, as: descriptor, style: .goStruct)
            #expect(String(decoding: writer.bytes, as: UTF8.self) == columns[1])
        }
    }

    /// Lifts what stands under `Response` into its parent, which is how the gateway's style has it.
    private func withoutOneofNames(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let values): return .array(values.map(withoutOneofNames))
        case .object(let members):
            if members.count == 1, members[0].name == "Response" { return withoutOneofNames(members[0].value) }
            return .object(members.map { .init($0.name, withoutOneofNames($0.value)) })
        default: return value
        }
    }
}
