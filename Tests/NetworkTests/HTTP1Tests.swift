// HTTP/1.1 both ways: tables of good and bad messages, each fed whole and one byte at a time; then random damage.

import Foundations
import HTTP1
import Testing

/// A parse written down as text, so that tables can be read.
private func transcript(_ input: [UInt8], pieces: [Int] = [], limits: HTTPLimits = HTTPLimits()) -> String {
    var parser = HTTPRequestParser(limits: limits)
    var log: [String] = []
    var body: [UInt8] = []
    var start = 0
    func feed(_ piece: [UInt8]) throws(HTTPError) {
        var position = 0
        while let event = try parser.next(piece.rawSpan, &position) {
            switch event {
            case .head(let head): log.append("\(head.method) \(head.target) \(head.version.text) \(head.framing)")
            case .body(let range): body += piece[range]
            case .end(let trailers):
                log.append("body \(String(decoding: body, as: UTF8.self))")
                if !trailers.isEmpty { log.append("trailers " + trailers.map { "\($0.name)=\($0.value)" }.joined(separator: ",")) }
                body = []
            }
        }
        #expect(position == piece.count, "a pull that ends leaves nothing")
    }
    do throws(HTTPError) {
        for size in pieces where start < input.count {
            let end = min(start + max(size, 1), input.count)
            try feed(Array(input[start..<end]))
            start = end
        }
        if start < input.count { try feed(Array(input[start...])) }
        try parser.finish()
        log.append("closed")
    } catch {
        log.append("error \(error)")
    }
    return log.joined(separator: " | ")
}

private func bytewise(_ input: [UInt8], limits: HTTPLimits = HTTPLimits()) -> String {
    transcript(input, pieces: Array(repeating: 1, count: input.count), limits: limits)
}

struct HTTP1RequestTests {
    static let table: [(String, String)] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 none | body  | closed"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0 none | body  | closed"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 none | body  | closed"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST /x HTTP/1.1 length(3) | body abc | closed"),
        ("POST /x HTTP/1.1\r\nHost:a\r\nContent-Length: 0\r\n\r\n", "POST /x HTTP/1.1 length(0) | body  | closed"),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            "POST /x HTTP/1.1 chunked | body abc0123456789 | closed"
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n000\r\nX-Sum:  5 \r\n\r\n",
            "POST /x HTTP/1.1 chunked | body a | trailers X-Sum=5 | closed"
        ),
        (
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /1 HTTP/1.1 none | body  | POST /2 HTTP/1.1 length(1) | body x | GET /3 HTTP/1.1 none | body  | closed"
        ),
        // Smuggling
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "error Content-Length together with Transfer-Encoding"
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "error malformed or repeated Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "error unsupported transfer encoding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "error unsupported transfer encoding"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "error unsupported transfer encoding"
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "error unsupported transfer encoding"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "error malformed header field name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "error malformed header field name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", "error malformed header field name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", "error folded header fields are not accepted"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\tX: 1\r\n\r\n", "error folded header fields are not accepted"),
        ("GET / HTTP/1.1\nHost: a\n\n", "error lines must end in CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", "error lines must end in CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\r\n\r\n", "error lines must end in CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", "error malformed header field value"),
        ("GET / HTTP/1.1\r\n\r\n", "error a request must have one well-formed Host header"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "error a request must have one well-formed Host header"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "error a request must have one well-formed Host header"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "error unsupported HTTP version"),
        ("GET / HTTP/1.12\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("GET /\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "error malformed request line"),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", "error unknown expectation"),
        // Chunks
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            "POST / HTTP/1.1 chunked | error malformed chunked encoding"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF\r\n",
            "POST / HTTP/1.1 chunked | error body is larger than 8388608 bytes"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1 chunked | error malformed or forbidden trailer field"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388609\r\n\r\n",
            "POST / HTTP/1.1 length(8388609) | error body is larger than 8388608 bytes"
        ),
        // The end of the connection
        ("", "closed"),
        ("GET / HT", "error connection closed inside a message"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
            "POST / HTTP/1.1 length(3) | error connection closed inside a message"
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "POST / HTTP/1.1 chunked | error connection closed inside a message"
        ),
    ]

    @Test(arguments: table)
    func `requests parse alike whole and one byte at a time`(_ input: String, _ expected: String) {
        #expect(transcript(Array(input.utf8)) == expected)
        #expect(bytewise(Array(input.utf8)) == expected)
    }

    @Test func `limits hold at the bound and not before`() {
        var limits = HTTPLimits()
        limits.lineBytesMax = 40
        limits.headBytesMax = 100
        limits.fieldsMax = 3
        limits.bodyBytesMax = 4
        func run(_ text: String) -> String {
            let whole = transcript(Array(text.utf8), limits: limits)
            #expect(whole == bytewise(Array(text.utf8), limits: limits))
            return whole
        }
        let host = "Host: a\r\n"
        let target = String(repeating: "x", count: 40 - "GET / HTTP/1.1\r\n".utf8.count)
        #expect(run("GET /\(target) HTTP/1.1\r\n\(host)\r\n").hasSuffix("closed"))
        #expect(run("GET /\(target)x HTTP/1.1\r\n\(host)\r\n") == "error header line is longer than 40 bytes")
        #expect(run("GET / HTTP/1.1\r\n\(host)A: 1\r\nB: 2\r\n\r\n").hasSuffix("closed"))
        #expect(run("GET / HTTP/1.1\r\n\(host)A: 1\r\nB: 2\r\nC: 3\r\n\r\n") == "error more than 3 header fields")
        let padding = String(repeating: "v", count: 30)
        #expect(
            run("GET / HTTP/1.1\r\n\(host)A: \(padding)\r\nB: \(padding)\r\nC: \(padding)\r\n\r\n")
                == "error headers are larger than 100 bytes")
        #expect(run("POST / HTTP/1.1\r\n\(host)Content-Length: 4\r\n\r\nabcd").hasSuffix("body abcd | closed"))
        #expect(run("POST / HTTP/1.1\r\n\(host)Content-Length: 5\r\n\r\nabcde").hasSuffix("error body is larger than 4 bytes"))
        #expect(
            run("POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n").hasSuffix(
                "body abcd | closed"))
        #expect(
            run("POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\n").hasSuffix(
                "error body is larger than 4 bytes"))
        let extended = "1;" + String(repeating: "e", count: 300)
        #expect(
            run("POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n\(extended)\r\n").hasSuffix("error malformed chunked encoding")
        )
    }

    @Test func `what a head says about its connection`() throws {
        func head(_ lines: String, _ version: String = "1.1") throws -> HTTPRequestHead {
            var parser = HTTPRequestParser()
            var position = 0
            let bytes = Array("POST / HTTP/\(version)\r\nHost: a\r\n\(lines)\r\n".utf8)
            guard case .head(let head) = try parser.next(bytes.rawSpan, &position) else { throw HTTPError.truncated }
            return head
        }
        #expect(try head("").keepsAlive)
        #expect(try !head("Connection: Close\r\n").keepsAlive)
        #expect(try !head("Connection: foo, close\r\n").keepsAlive)
        #expect(try !head("", "1.0").keepsAlive)
        #expect(try head("Connection: keep-alive\r\n", "1.0").keepsAlive)
        #expect(try head("Expect: 100-Continue\r\nContent-Length: 1\r\n").expectsContinue)
        #expect(try !head("Expect: 100-continue\r\n").expectsContinue, "no body to wait with")
        #expect(try head("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n").upgrades == ["websocket", "h2c"])
        #expect(try head("Upgrade: websocket\r\n").upgrades == [])
        #expect(try head("X-A: 1\r\nx-a: 2\r\n").fields.values("X-a") == ["1", "2"])
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\n", HTTPPreface.Verdict.http1), ("P", .undecided), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .http2),
        ("POST", .http1), ("PRI * HTTP/2.0\r\n\r\nSX", .http1), ("", .undecided),
    ])
    func `the first bytes tell HTTP versions apart`(_ text: String, _ verdict: HTTPPreface.Verdict) {
        #expect(HTTPPreface.examine(Array(text.utf8).rawSpan) == verdict)
    }

    @Test func `random damage and random cuts never change the result or crash`() {
        let seed: UInt64 = 20_260_101
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<4000 {
            var bytes = Array(Self.table[Int.random(in: 0..<Self.table.count, using: &random)].0.utf8)
            for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                case 2: bytes.insert([0x0d, 0x0a, 0x20, 0x3a, 0x30][Int.random(in: 0..<5, using: &random)], at: at)
                default: bytes.insert(contentsOf: bytes[at...], at: at)
                }
            }
            let whole = transcript(bytes)
            #expect(whole == bytewise(bytes), "\(bytes)")
            let cuts = (0..<20).map { _ in Int.random(in: 1...20, using: &random) }
            #expect(whole == transcript(bytes, pieces: cuts), "\(bytes) cut \(cuts)")
        }
    }
}

struct HTTP1ResponseTests {
    private func transcript(_ text: String, method: String = "GET", bytewise: Bool) -> String {
        var parser = HTTPResponseParser(requestMethod: method)
        var log: [String] = []
        var body: [UInt8] = []
        func note(_ event: HTTPResponseParser.Event, _ piece: [UInt8]) {
            switch event {
            case .informational(let head): log.append("info \(head.status)")
            case .head(let head): log.append("\(head.status) \(head.reason) \(head.framing)\(head.keepsAlive ? "" : " close")")
            case .body(let range): body += piece[range]
            case .end: log.append("body \(String(decoding: body, as: UTF8.self))"); body = []
            }
        }
        do throws(HTTPError) {
            let bytes = Array(text.utf8)
            for piece in bytewise ? bytes.map({ [$0] }) : [bytes] {
                var position = 0
                while let event = try parser.next(piece.rawSpan, &position) { note(event, piece) }
                if parser.isUpgraded { log.append("upgraded"); return log.joined(separator: " | ") }
            }
            if let event = try parser.finish() { note(event, []) }
            log.append("closed")
        } catch { log.append("error \(error)") }
        return log.joined(separator: " | ")
    }

    @Test(arguments: [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK length(2) | body hi | closed"),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhi", "200 OK untilClose close | body hi | closed"),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200  length(0) | body  | closed"),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK length(2) close | body hi | closed"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "200 OK none | body  | closed"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "304 Not Modified none | body  | closed"),
        (
            "GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "204 No Content none | body  | 200 OK length(1) | body x | closed"
        ),
        (
            "POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "info 100 | 200 OK chunked | body x | closed"
        ),
        ("GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\u{1}\u{2}", "101 Switching Protocols none | upgraded"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "200 OK length(3) | error connection closed inside a message"),
        ("GET", "HTTP/1.1 20 OK\r\n\r\n", "error malformed status line"),
        ("GET", "HTTP/1.1 2000 OK\r\n\r\n", "error malformed status line"),
        ("GET", "HTTX/1.1 200 OK\r\n\r\n", "error malformed status line"),
        ("GET", "HTTP/2.0 200 OK\r\n\r\n", "error unsupported HTTP version"),
        (
            "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "error Content-Length together with Transfer-Encoding"
        ),
    ])
    func `responses parse alike whole and one byte at a time`(_ method: String, _ input: String, _ expected: String) {
        #expect(transcript(input, method: method, bytewise: false) == expected)
        #expect(transcript(input, method: method, bytewise: true) == expected)
    }

    @Test func `what is written is read back`() throws {
        var bytes: [UInt8] = []
        HTTPWriter.append(
            HTTPRequestHead("POST", "/a?b", fields: ["Host": "x", "X-Note": "one\r\nInjected: two"], framing: .chunked), to: &bytes)
        HTTPWriter.appendChunk(Array("hello ".utf8).rawSpan, to: &bytes)
        HTTPWriter.appendChunk([UInt8]().rawSpan, to: &bytes)
        HTTPWriter.appendChunk(Array(repeating: UInt8(0x2e), count: 300).rawSpan, to: &bytes)
        HTTPWriter.appendLastChunk(trailers: ["X-Sum": "1"], to: &bytes)
        let dots = String(repeating: ".", count: 300)
        #expect(NetworkTests.transcript(bytes) == "POST /a?b HTTP/1.1 chunked | body hello \(dots) | trailers X-Sum=1 | closed")
        var parser = HTTPRequestParser()
        var position = 0
        guard case .head(let head)? = try parser.next(bytes.rawSpan, &position) else { throw HTTPError.truncated }
        #expect(head.fields["x-note"] == "one  Injected: two", "a value cannot start a new line")

        var response: [UInt8] = []
        HTTPWriter.append(HTTPResponseHead(404, fields: ["Content-Type": "text/plain"], framing: .length(3)), to: &response)
        #expect(
            String(decoding: response, as: UTF8.self) == "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n")
        response = []
        HTTPWriter.append(HTTPResponseHead(204), to: &response)
        #expect(String(decoding: response, as: UTF8.self) == "HTTP/1.1 204 No Content\r\n\r\n")
        response = []
        HTTPWriter.append(HTTPResponseHead(200), to: &response)
        #expect(String(decoding: response, as: UTF8.self) == "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    @Test(arguments: [
        ("/", "/", ""), ("/a%2Fb?x=1", "/a/b", "x=1"), ("http://host:1/p?q", "/p", "q"), ("http://host", "/", ""),
        ("http://host?q", "/", "q"), ("/a+b", "/a+b", ""), ("*", "*", ""), ("/x#frag?no", "/x", ""),
    ])
    func `targets are taken apart`(_ target: String, _ path: String, _ query: String) throws {
        let parsed = try #require(HTTPTarget(target))
        #expect(parsed.path == path)
        #expect(parsed.rawQuery == query)
    }

    @Test(arguments: ["", "host:80", "/%", "/%2", "/%zz", "x/y"])
    func `what is no target is refused`(_ target: String) { #expect(HTTPTarget(target) == nil) }

    @Test func `queries are decoded and broken pairs left out`() throws {
        let target = try #require(HTTPTarget("/health?exclude=NO+SPACE&exclude=%41B&bad=%z&semi;colon=1&empty=&bare"))
        #expect(target.queryValues("exclude") == ["NO SPACE", "AB"])
        #expect(target.query.map(\.name) == ["exclude", "exclude", "empty", "bare"])
        #expect(HTTPPercent.encode(Array("a b/c%".utf8), keeping: "/") == "a%20b/c%25")
    }

    @Test(arguments: [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_795_295_399, "Sat, 21 Nov 2026 21:09:59 GMT"), (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ])
    func `a moment as HTTP writes it`(seconds: Int, text: String) { #expect(HTTPDate.text(seconds) == text) }

    @Test(arguments: [
        ("/", "/"), ("/health", "/health"), ("//health", "/health"), ("/v3/../health", "/health"), ("/v3//kv/", "/v3/kv/"),
        ("/..", "/"), ("/a/./b/..", "/a"), ("/../../a", "/a"), ("/...", "/..."),
    ])
    func `a path without empty and dotted segments`(path: String, clean: String) {
        #expect(HTTPTarget.cleaned(path) == clean)
    }
}
