// From words and lines to requests.

import Control
import Flags
import Foundations
import Linux
import Testing
import Wire

private func bytes(_ text: String) -> Bytes { Bytes(text.utf8) }

@Suite struct Comparisons {
    @Test(arguments: [
        (#"value("foo") = "bar""#, Compare(result: .equal, target: .value, key: bytes("foo"), targetUnion: .value(bytes("bar")))),
        (#"mod("a\tb") > "5""#, Compare(result: .greater, target: .mod, key: bytes("a\tb"), targetUnion: .modRevision(5))),
        (#"c("k") != "0""#, Compare(result: .notEqual, target: .create, key: bytes("k"), targetUnion: .createRevision(0))),
        (#"ver(`k`) < "7""#, Compare(result: .less, target: .version, key: bytes("k"), targetUnion: .version(7))),
        (#"lease("k") = "1f""#, Compare(result: .equal, target: .lease, key: bytes("k"), targetUnion: .lease(31))),
        (#"val("k")   =   "\x00\u00e9""#, Compare(result: .equal, target: .value, key: bytes("k"), targetUnion: .value([0, 0xc3, 0xa9]))),
    ])
    func `are read`(line: String, expected: Compare) throws {
        #expect(try TransactionScript.comparison(line) == expected)
    }

    @Test(arguments: [
        ("bogus", "malformed comparison: bogus"),
        (#"value("foo")="x""#, #"malformed comparison: value("foo")="x"; got value("foo")  """#),
        (#"value("foo") = x"#, #"malformed comparison: value("foo") = x; got value("foo") = """#),
        (#"value(foo) = "x""#, #"malformed comparison: value(foo) = "x"; got value("")  """#),
        (#"nosuch("foo") = "x""#, #"malformed comparison: nosuch("foo") = "x" (unknown target nosuch)"#),
        (#"mod("foo") = "x""#, #"invalid txn compare request: mod("foo") = "x""#),
    ])
    func `are refused in etcdctl's words`(line: String, message: String) {
        #expect(throws: CtlFailure(.badInput, message)) { try TransactionScript.comparison(line) }
    }

    @Test func `with an unknown operator are refused`() {
        #expect(throws: CtlFailure.self) { try TransactionScript.comparison(#"ver("a") >= "1""#) }
    }
}

@Suite struct `Transaction scripts` {
    private func read(_ text: String) throws -> TxnRequest {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init).dropLast()[...]
        return try TransactionScript(nextLine: { lines.popFirst() }).read()
    }

    @Test func `have three parts, each ended by a blank line`() throws {
        let request = try read("val(\"a\") = \"1\"\n\nput a 'b c' --lease=1f\nget \"x\\ty\" --prefix\n\ndel d e --prev-kv\n\n")
        #expect(request.compare.count == 1)
        #expect(
            request.success == [
                RequestOp(request: .requestPut(PutRequest(key: bytes("a"), value: bytes("b c"), lease: 31))),
                RequestOp(request: .requestRange(RangeRequest(key: bytes("x\ty"), rangeEnd: bytes("x\tz")))),
            ])
        #expect(
            request.failure == [
                RequestOp(request: .requestDeleteRange(DeleteRangeRequest(key: bytes("d"), rangeEnd: bytes("e"), prevKv: true)))
            ])
    }

    @Test func `that end early are refused`() {
        #expect(throws: CtlFailure(.badInput, "EOF")) { try read("val(\"a\") = \"1\"\n\n") }
    }

    @Test(arguments: [
        ("get", CtlFailure(.badInput, "invalid txn compare request: get")),
        ("foo bar", CtlFailure(.badInput, "invalid txn request: foo bar")),
        ("get a --bogus", CtlFailure(.badInput, "invalid txn request: get a --bogus")),
        ("put a", CtlFailure(.badArguments, "put command needs 1 argument and input from stdin or 2 arguments")),
    ])
    func `refuse operations they do not know`(line: String, failure: CtlFailure) {
        #expect(throws: failure) { try TransactionScript.operation(line) }
    }
}

@Suite struct `Watch arguments` {
    private let root = Command(
        "etcdctl",
        commands: [
            Command(
                "watch",
                options: [
                    Option("prefix", .bool), Option("rev", .integer(bits: 64)), Option("prev-kv", .bool),
                    Option("progress-notify", .bool), Option("interactive", .bool, shorthand: "i"),
                ])
        ])

    private func parse(_ words: [String], _ key: String = "", _ end: String = "") throws -> WatchArguments {
        guard case .run(let parsed) = try CommandLineParser(root, prefixMatching: true).parse(["watch"] + words) else {
            throw CtlFailure(.error, "help")
        }
        return try WatchArguments(parsed, .init(key: key, rangeEnd: end))
    }

    @Test func `tell keys from the command behind the dashes`() throws {
        let plain = try parse(["foo", "fop", "--rev", "7", "--", "sh", "-c", "x"])
        #expect(plain.range == KeyRange(key: bytes("foo"), end: bytes("fop")))
        #expect(plain.command == ["sh", "-c", "x"])
        #expect(plain.revision == 7)
        #expect(try parse(["foo", "--prefix"]).range == .prefix(bytes("foo")))
        #expect(try parse(["--", "echo"], "a", "b").range == KeyRange(key: bytes("a"), end: bytes("b")))
        #expect(try parse(["a", "b", "c"]).range == KeyRange(key: bytes("a"), end: bytes("b")))
    }

    @Test(
        arguments: [
            ([], "", "bad number of arguments"), (["--", "echo"], "", "bad number of arguments"),
            (["foo", "--"], "", "bad number of arguments (found separator --, but no commands)"),
            (["foo"], "k", "bad number of arguments (found conflicting environment key)"),
            (["foo", "--", "echo"], "k", "bad number of arguments (found conflicting environment key)"),
            (["a", "b", "--prefix"], "", "`range_end` and `--prefix` are mutually exclusive"),
        ] as [([String], String, String)])
    func `are refused in etcdctl's words`(words: [String], key: String, message: String) {
        #expect(throws: CtlFailure(.badArguments, message)) { try parse(words, key) }
    }
}

@Suite struct `Lines of an interactive watch` {
    private func read(_ line: String) -> InteractiveWatchLine { InteractiveWatchLine(line, .init(key: "", rangeEnd: "")) }

    @Test(
        arguments: [
            ("watch a --bad", "unknown flag: --bad"),
            ("watch a --rev=x", #"invalid argument "x" for "--rev" flag: strconv.ParseInt: parsing "x": invalid syntax"#),
        ])
    func `end the program with flags that are none`(line: String, message: String) {
        guard case .wrong(let failure) = read(line) else { return record("\(line) is \(read(line))") }
        #expect(failure == CtlFailure(.badArguments, message))
    }

    @Test(arguments: [
        ("put a b", "Invalid command put a b (only support watch)"), ("", "Invalid command:  (watch and progress supported)"),
        ("watch", "Invalid command watch (command type or key is not provided)"),
    ])
    func `are passed over when they are something else`(line: String, message: String) {
        guard case .refused(let text) = read(line) else { return record("\(line) is \(read(line))") }
        #expect(text == message)
    }

    @Test func `are watches and questions`() {
        guard case .progress = read("progress") else { return record("no question") }
        guard case .watch(let arguments) = read("watch a --rev 3") else { return record("no watch") }
        #expect(arguments.range == KeyRange(key: bytes("a"), end: []) && arguments.revision == 3)
    }

    private func record(_ what: String) { Issue.record("\(what)") }
}

@Suite struct Keys {
    @Test(
        arguments: [
            ([0x61], [0x62]), ([0x61, 0xff], [0x62]), ([0xff, 0xff], [0]), ([], [0]),
        ] as [(Bytes, Bytes)])
    func `of a prefix end where the next prefix begins`(prefix: Bytes, end: Bytes) {
        #expect(KeyRange.prefixEnd(of: prefix) == end)
    }

    @Test(
        arguments: [
            Bytes("plain".utf8), Bytes("h\u{e9}llo".utf8), [0xff, 0x41, 0xfe], [0xc3], [0xe2, 0x80, 0x41], [0x80, 0xf0, 0x9f, 0x98, 0x80],
        ] as [Bytes])
    func `survive being words, whatever bytes they are`(key: Bytes) {
        #expect(ArgumentText.bytes(of: ArgumentText.text(of: key)) == key)
    }
}

@Suite struct Verdicts {
    @Test func `pass when the cluster kept up`() {
        let verdict = PerformanceVerdict(Array(repeating: 0.004, count: 8998) + [0.043093], errors: [:], rate: 150, seconds: 60)
        #expect(verdict.isPassed)
        #expect(verdict.lines[0] == "PASS: Throughput is 150 writes/s")
        #expect(verdict.lines[1] == "PASS: Slowest request took 0.043093s")
        #expect(verdict.lines[2].hasPrefix("PASS: Stddev is 0.000"))
        #expect(verdict.lines[3] == "PASS")
    }

    @Test func `fail for each reason by name`() {
        let verdict = PerformanceVerdict([0.1, 0.9], errors: ["boom": 3], rate: 150, seconds: 1)
        #expect(!verdict.isPassed)
        #expect(
            verdict.lines == [
                "FAIL: too many errors", "FAIL: ERROR(boom) -> 3", "FAIL: Throughput too low: 2 writes/s",
                "FAIL: Slowest request took too long: 0.900000s", "FAIL: Stddev too high: 0.400000s", "FAIL",
            ])
    }
}

@Suite struct `Service records` {
    /// `_etcd-client._tcp.x`: two records, the target's name by pointer in the second.
    private static let answer: Bytes =
        [0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]
        + [12] + Bytes("_etcd-client".utf8) + [4] + Bytes("_tcp".utf8) + [1] + Bytes("x".utf8) + [0, 0, 33, 0, 1]
        + [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 11, 0, 2, 0, 5, 0x09, 0x4b, 1] + Bytes("b".utf8) + [0xc0, 30, 0]
        + [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10, 0, 1, 0, 5, 0x09, 0x4b, 1] + Bytes("a".utf8) + [0xc0, 30]

    @Test func `are read in the order of their priority`() {
        let records = ServiceAnswer.records(Self.answer)
        #expect(records.map(\.host) == ["a.x", "b.x"])
        #expect(records.map(\.port) == [2379, 2379])
    }

    @Test func `that are cut off do no harm`() {
        for count in 0..<Self.answer.count { _ = ServiceAnswer.records(Bytes(Self.answer.prefix(count))) }
        var loop = Self.answer
        loop[12] = 0xc0
        loop[13] = 12
        #expect(ServiceAnswer.records(loop) == [])
    }
}
