import Foundations
import Testing

@testable import GRPC

@Suite struct GRPCTests {
    @Test(arguments: [
        ("plain text", "plain text"), ("50% of é\n", "50%25 of %C3%A9%0A"), ("", ""), ("~ \u{7f}", "~ %7F"),
    ]) func `a message travels percent-encoded`(text: String, header: String) {
        #expect(String(decoding: GRPCMessageText.encode(text), as: UTF8.self) == header)
        #expect(GRPCMessageText.decode(Array(header.utf8)) == text)
    }

    @Test(arguments: [
        ("100%", "100%"), ("%4", "%4"), ("%zz", "%zz"), ("%c3%a9", "é"), ("%ff", "\u{fffd}"), ("%2525", "%25"),
    ])
    func `a broken escape stands for itself`(header: String, text: String) {
        #expect(GRPCMessageText.decode(Array(header.utf8)) == text)
    }

    @Test(arguments: [
        ("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3_000_000_000), ("4m", 4_000_000), ("5u", 5000),
        ("6n", 6),
        ("0n", 0), ("00000001S", 1_000_000_000), ("99999999H", Int64.max),
    ]) func `timeouts`(header: String, nanoseconds: Int64) {
        #expect(GRPCTimeout.parse(Array(header.utf8)) == nanoseconds)
    }

    @Test(arguments: ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1SS", " 1S", "１S"]) func `no timeouts`(
        header: String
    ) {
        #expect(GRPCTimeout.parse(Array(header.utf8)) == nil)
    }

    @Test(arguments: [
        (-5, "0n"), (0, "0n"), (1, "1n"), (99_999_999, "99999999n"), (100_000_000, "100000u"), (100_000_001, "100001u"),
        (7_000_000_000, "7000000u"), (100_000_000_001, "100001m"), (Int64.max, "2562048H"),
    ]) func `a timeout is written in the finest unit and never shorter`(nanoseconds: Int64, header: String) throws {
        #expect(GRPCTimeout.format(nanoseconds: nanoseconds) == header)
        #expect(try #require(GRPCTimeout.parse(Array(header.utf8))) >= nanoseconds)
    }

    private func framed(_ messages: [[UInt8]]) -> [UInt8] {
        var stream: [UInt8] = []
        for message in messages {
            let start = GRPCFraming.reserveHeader(in: &stream)
            stream += message
            GRPCFraming.setLength(headerAt: start, in: &stream)
        }
        return stream
    }

    @Test func `messages are whole however the stream is cut`() throws {
        let messages: [[UInt8]] = [[], [1], Array(repeating: 7, count: 300), [], [2, 3]]
        let stream = framed(messages)
        for step in 1...stream.count {
            var deframer = GRPCDeframer(messageBytesMax: 300)
            var received: [[UInt8]] = []
            for start in stride(from: 0, to: stream.count, by: step) {
                let chunk = Array(stream[start..<min(start + step, stream.count)])
                try deframer.feed(chunk.rawSpan) { bytes, compressed in
                    received.append([UInt8](bytes))
                    #expect(!compressed)
                }
            }
            #expect(received == messages, "step \(step)")
            #expect(deframer.isBetweenMessages)
        }
    }

    @Test func `a message above the limit is refused at its header`() {
        for cut in [1, 4, 5] {
            var deframer = GRPCDeframer(messageBytesMax: 2_097_152)
            let header: [UInt8] = [0, 0, 0x20, 0, 1]
            let error = #expect(throws: GRPCStatus.self) {
                try deframer.feed(Array(header[..<cut]).rawSpan) { _, _ in }
                try deframer.feed(Array(header[cut...]).rawSpan) { _, _ in }
                try deframer.feed([0].rawSpan) { _, _ in }
            }
            #expect(
                error == GRPCStatus(.resourceExhausted, "grpc: received message larger than max (2097153 vs. 2097152)"))
        }
    }

    @Test func `the compressed flag is passed on and other flags refused`() throws {
        var deframer = GRPCDeframer(messageBytesMax: 10)
        var flags: [Bool] = []
        try deframer.feed([1, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0].rawSpan) { _, compressed in flags.append(compressed) }
        #expect(flags == [true, false])
        #expect(throws: GRPCStatus(.internal, "grpc: received unexpected payload format 2")) {
            try deframer.feed([2, 0, 0, 0, 0].rawSpan) { _, _ in }
        }
    }

    @Test func `a stream that ends inside a message shows`() throws {
        var deframer = GRPCDeframer(messageBytesMax: 10)
        try deframer.feed([0, 0, 0, 0, 2, 9].rawSpan) { _, _ in Issue.record("not whole") }
        #expect(!deframer.isBetweenMessages)
    }

    @Test func `a refusal of the receiver passes through`() {
        var deframer = GRPCDeframer(messageBytesMax: 10)
        #expect(throws: EtcdError.emptyKey) {
            try deframer.feed([0, 0, 0, 0, 0].rawSpan) { _, _ throws(GRPCStatus) in throw EtcdError.emptyKey }
        }
    }

    @Test func `codes in headers`() {
        #expect(GRPCCode(header: Array("14".utf8)) == .unavailable)
        #expect(GRPCCode(header: Array("".utf8)) == nil)
        #expect(GRPCCode(header: Array("-1".utf8)) == nil)
        #expect(GRPCCode(header: Array("99999999999".utf8)) == nil)
        #expect(GRPCCode(rawValue: 77).name == "Code(77)")
        #expect(
            EtcdError.permissionDenied.description
                == "rpc error: code = PermissionDenied desc = etcdserver: permission denied")
    }

    @Test func `HTTP statuses of the gateway generations`() {
        let expected: [Int] = [200, 408, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]
        #expect((0...16).map { GRPCCode(rawValue: $0).httpStatus() } == expected)
        #expect(GRPCCode.failedPrecondition.httpStatus(.g34) == 412)
        #expect(GRPCCode.cancelled.httpStatus(.g36) == 499)
        #expect(GRPCCode(httpStatus: 503) == .unavailable)
        #expect(GRPCCode(http2Error: 7) == .unavailable)
    }

    @Test func `every error text is one code`() {
        // Texts that appear twice on purpose: election and lock answer UNKNOWN with the texts of others.
        let election = [EtcdError.lockLeaseNotFound, EtcdError.lockEmptyKey]
        var seen: [String: GRPCCode] = [:]
        for status in EtcdError.all where !election.contains(status) {
            #expect(seen.updateValue(status.code, forKey: status.message) == nil, "\(status)")
            #expect(!status.isOK)
        }
    }

    /// Recorded statuses of 3.5.1 that this server answers in another way (we follow later releases there), or
    /// that were made by the recording client.
    private static let notOurs: Set<String> = [
        "2 auth: permission denied", "2 auth: user name is empty", "2 context deadline exceeded", "4 Deadline Exceeded",
        "14 etcdserver: rpc not supported for learner",
    ]

    @Test func `every recorded status is in the table`() throws {
        let computed = [
            EtcdError.messageTooLarge(2_252_810, limit: 2_097_152),
            EtcdError.unknownMethod("Nope", of: "etcdserverpb.KV"),
            EtcdError.unknownService("nope.Nope"), EtcdError.undecodableRequest("unexpected EOF"),
            EtcdError.unknownHealthService,
        ]
        let known = Set(EtcdError.all + computed)
        let recorded = Recordings.lines("statuses.txt")
        #expect(recorded.count > 50)
        for columns in recorded where !Self.notOurs.contains(columns.joined(separator: " ")) {
            let code = GRPCCode(rawValue: try #require(UInt32(columns[0])))
            #expect(known.contains(GRPCStatus(code, columns[1])), "\(columns)")
        }
    }
}
