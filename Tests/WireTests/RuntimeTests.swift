import Foundations
import Testing

@testable import Wire

@Suite struct RuntimeTests {
    @Test func `a put encodes as the contract shows`() throws {
        let put = InternalRaftRequest(
            kind: .put(PutRequest(key: [0x61], value: [0x31])), header: RequestHeader(id: 7_668_682_368_985_709_063))
        let hex = "22060a0161120131a2060a0887f4c695bfbfa8b66a"
        let bytes = try #require(Hexadecimal.decode(hex))
        #expect(Hexadecimal.encode(put.encoded()) == Hexadecimal.encode(bytes))
        #expect(try InternalRaftRequest(decoding: bytes) == put)
        let view = try InternalRaftRequestView(decoding: bytes.rawSpan)
        #expect(view.kindField == InternalRaftRequest.KindField.put)
        #expect(view.requestID == 7_668_682_368_985_709_063)
        let body = try PutRequestView(decoding: view.body)
        #expect([UInt8](body.key) == [0x61])
        #expect([UInt8](body.value) == [0x31])
    }

    @Test func `an empty raft message has every scalar and the empty snapshot`() {
        let hex = "08081000180020002800300040004a0a12080a0228001000180050005800"
        #expect(Hexadecimal.encode(RaftPB.Message(type: .msgHeartbeat).encoded()) == hex)
    }
}
