import Foundations
import Testing

@testable import Wire

/// Bytes nobody should have sent, and the edges of the codec.
@Suite struct MalformedTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var hex: String
        var error: WireError
        var testDescription: String { name }
        init(_ name: String, _ hex: String, _ error: WireError) {
            self.name = name
            self.hex = hex
            self.error = error
        }
    }

    static let putCases: [Case] = [
        Case("length cut", "0aff", .truncated),
        Case("payload shorter than its length", "0a0561", .truncated),
        Case("tag cut", "80", .truncated),
        Case("tag without a value", "18", .truncated),
        Case("number cut", "1880", .truncated),
        Case("number of eleven bytes", "18ffffffffffffffffffff01", .overlongNumber),
        Case("number above 64 bits", "18ffffffffffffffffff02", .overlongNumber),
        Case("field zero", "00", .badFieldNumber),
        Case("field number above 2^29 - 1", "8080808010", .badFieldNumber),
        Case("length of 2^63", "0a80808080808080808001", .badLength),
        Case("length of 2^63 - 1", "0affffffffffffffff7f", .truncated),
        Case("wire type 6", "3e", .unknownWireType(6)),
        Case("wire type 7", "3f", .unknownWireType(7)),
        Case("bytes as a number", "0801", .wrongWireType(field: 1, wireType: 0)),
        Case("number as bytes", "1a0101", .wrongWireType(field: 3, wireType: 2)),
        Case("number as fixed64", "190000000000000000", .wrongWireType(field: 3, wireType: 1)),
        Case("end of a group that did not begin", "54", .unmatchedGroup),
        Case("known field as end of group", "0c", .wrongWireType(field: 1, wireType: 4)),
        Case("group ended by another", "53 5c", .unmatchedGroup),
        Case("group without an end", "53 0801", .truncated),
        Case("unknown fixed64 cut", "51 00000000000000", .truncated),
        Case("unknown fixed32 cut", "55 000000", .truncated),
    ]

    @Test(arguments: putCases) func `a put is refused`(bad: Case) throws {
        let bytes = try #require(Hexadecimal.decode(bad.hex.filter { $0 != " " }))
        #expect(throws: bad.error) { try PutRequest(decoding: bytes) }
        #expect(throws: bad.error) { _ = try PutRequestView(decoding: bytes.rawSpan) }
    }

    @Test(arguments: [
        Case("text is not UTF-8", "0a02c328", .invalidUTF8(field: 1)),
        Case("text holds a surrogate", "0a03eda080", .invalidUTF8(field: 1)),
        Case("text is overlong", "0a02c080", .invalidUTF8(field: 1)),
    ]) func `a user name is refused`(bad: Case) throws {
        let bytes = try #require(Hexadecimal.decode(bad.hex))
        #expect(throws: bad.error) { try AuthUserGetRequest(decoding: bytes) }
    }

    @Test func `a nested message cannot reach beyond its own end`() throws {
        // compare of 2 bytes whose key claims 5; the bytes are there, but belong to the outer message
        let bytes = try #require(Hexadecimal.decode("0a021a056161616161"))
        #expect(throws: WireError.truncated) { try TxnRequest(decoding: bytes) }
    }

    @Test func `unknown fields of every form are skipped`() throws {
        for hex in ["5001", "510102030405060708", "5203616263", "5200", "5354", "5501020304", "f8ffffff0f01"] {
            let bytes = try #require(Hexadecimal.decode("0a0161" + hex + "120162"))
            #expect(try PutRequest(decoding: bytes) == PutRequest(key: [0x61], value: [0x62]), "\(hex)")
        }
    }

    @Test func `groups inside groups are skipped`() throws {
        // field 10: group { field 1: bytes, field 11: group {}, field 12: number }
        let bytes = try #require(Hexadecimal.decode("0a0161530a01625b5c600154120162"))
        #expect(try PutRequest(decoding: bytes) == PutRequest(key: [0x61], value: [0x62]))
    }

    @Test func `the last of a repeated field wins and messages merge`() throws {
        let first = RangeResponse(
            header: ResponseHeader(clusterId: 1, revision: 2), kvs: [KeyValue(key: [1])], count: 3)
        let second = RangeResponse(header: ResponseHeader(revision: 7), kvs: [KeyValue(key: [2])], count: 4)
        let both = try RangeResponse(decoding: first.encoded() + second.encoded())
        let merged = RangeResponse(
            header: ResponseHeader(clusterId: 1, revision: 7), kvs: [KeyValue(key: [1]), KeyValue(key: [2])], count: 4)
        #expect(both == merged)
    }

    @Test func `of two members of a oneof the last is kept`() throws {
        let range = RequestOp(request: .requestRange(RangeRequest(key: [1])))
        let put = RequestOp(request: .requestPut(PutRequest(key: [2])))
        #expect(try RequestOp(decoding: range.encoded() + put.encoded()) == put)
        #expect(try RequestOp(decoding: put.encoded() + range.encoded()) == range)
    }

    @Test func `packed and unpacked lists both read`() throws {
        let packed = try #require(Hexadecimal.decode("2a020001"))
        let unpacked = try #require(Hexadecimal.decode("28002801"))
        let message = WatchCreateRequest(filters: [.noput, .nodelete])
        #expect(try WatchCreateRequest(decoding: packed) == message)
        #expect(try WatchCreateRequest(decoding: unpacked) == message)
        #expect(message.encoded() == packed)
        let state = RaftPB.ConfState(voters: [1, 300])
        #expect(state.encoded() == [0x08, 0x01, 0x08, 0xac, 0x02, 0x28, 0x00])
        #expect(try RaftPB.ConfState(decoding: [0x0a, 0x03, 0x01, 0xac, 0x02]) == state)
    }

    @Test func `an unknown enum number survives`() throws {
        let message = RangeRequest(sortOrder: .init(rawValue: 77))
        #expect(try RangeRequest(decoding: message.encoded()) == message)
        #expect(try RangeRequest(decoding: [0x28, 0x4d]).sortOrder.rawValue == 77)
    }

    @Test func `nesting is bounded`() throws {
        func nested(_ depth: Int) -> Bytes {
            var bytes: Bytes = []
            for _ in 0..<depth {
                // success[0].request_txn
                var operation: Bytes = []
                operation.appendWire(4, message: bytes.rawSpan)
                bytes = []
                bytes.appendWire(2, message: operation.rawSpan)
            }
            return bytes
        }
        #expect(try TxnRequest(decoding: nested(100)).encoded() == nested(100))
        #expect(throws: WireError.tooDeep) { try TxnRequest(decoding: nested(101)) }
        let groups = Bytes(repeating: 0x53, count: 100_000)
        #expect(throws: WireError.tooDeep) { try PutRequest(decoding: groups) }
    }

    @Test func `a varint's size`() {
        for shift in 0..<64 {
            let power: UInt64 = 1 << UInt64(shift)
            for value: UInt64 in [power, power - 1, UInt64.max >> UInt64(shift)] {
                var bytes: Bytes = []
                bytes.appendVarint(value)
                #expect(Varint.size(value) == bytes.count)
            }
        }
    }

    @Test func `hand-written pieces equal the generated message`() {
        let kv = KeyValue(key: [1, 2], createRevision: 3, modRevision: 4, version: 5, value: [6], lease: -7)
        let response = RangeResponse(
            header: ResponseHeader(clusterId: .max, revision: 9), kvs: [kv, kv], more: true, count: 2)
        var bytes: Bytes = []
        let header = ResponseHeader(clusterId: .max, revision: 9)
        bytes.appendWireHeader(1, length: header.encodedSize)
        header.append(to: &bytes)
        for _ in 0..<2 { bytes.appendWire(2, message: kv.encoded().rawSpan) }
        bytes.appendWire(3, 1 as UInt64)
        bytes.appendWire(4, 2 as Int64)
        #expect(bytes == response.encoded())
        let size =
            Varint.payloadFieldSize(1, header.encodedSize) + 2 * Varint.payloadFieldSize(2, kv.encodedSize)
            + Varint.fieldSize(3, 1) + Varint.fieldSize(4, 2)
        #expect(size == bytes.count)
    }

    @Test(arguments: [0, 1, 127, 128, 1_234_567, Int64.max, -1]) func `the header template equals the header`(
        revision: Int64
    ) {
        for term: UInt64 in [0, 2, .max] {
            let template = ResponseHeaderTemplate(clusterId: .max, memberId: 1 << 63)
            let header = ResponseHeader(clusterId: .max, memberId: 1 << 63, revision: revision, raftTerm: term)
            var bytes: Bytes = [9]
            template.append(to: &bytes, revision: revision, raftTerm: term)
            #expect(bytes == [9] + PutResponse(header: header).encoded())
            #expect(template.size(revision: revision, raftTerm: term) == bytes.count - 1)
        }
    }

    @Test func `messages larger than the scratch memory encode the same`() {
        for size in [1000, 1010, 1015, 1018, 1019, 1020, 1021, 1022, 1023, 1024, 1025, 5000, 100_000] {
            let message = PutRequest(key: [1], value: Bytes(repeating: 7, count: size), prevKv: true)
            let txn = TxnRequest(success: [RequestOp(request: .requestPut(message))])
            var expected: Bytes = [0x0a, 1, 1]
            expected.appendWire(2, bytes: message.value.rawSpan)
            expected += [0x20, 1]
            #expect(message.encoded() == expected)
            #expect(message.encodedSize == expected.count)
            var nested: Bytes = []
            nested.appendWire(2, message: expected.rawSpan)
            var outer: Bytes = []
            outer.appendWire(2, message: nested.rawSpan)
            #expect(txn.encoded() == outer)
        }
    }
}
