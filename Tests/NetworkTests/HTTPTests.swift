// Plain HTTP beside gRPC on the same port, with curl and by hand.

import Connections
import Foundations
import GRPC
import TestSupport
import Testing

@Suite struct HTTPTests {
    private func exchange(_ port: Int, _ requests: String) throws -> String {
        let connection = try RawConnection(port: port)
        connection.send(Array(requests.utf8))
        connection.finishSending()
        return String(decoding: connection.readToEnd(), as: UTF8.self)
    }

    @Test(.enabled(if: RealTools.required(RealTools.curl)), arguments: ["--http1.1", "--http2-prior-knowledge", "--http2"])
    func `curl gets the same over both protocols`(version: String) throws {
        let server = TestServer()
        defer { server.stop() }
        let curl = try #require(RealTools.curl)
        let base = "http://127.0.0.1:\(server.port)"
        func get(_ arguments: String...) -> String {
            Subprocess.run(curl, ["-s", "-m", "20", version] + arguments).output
        }
        #expect(get(base + "/health") == "fine\n")
        #expect(get(base + "/pieces") == "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n")
        #expect(get(base + "/later") == "later\n")
        #expect(get("-d", "hello", base + "/echo") == "POST hello")
        #expect(get("-d", "hello", "-H", "Transfer-Encoding: chunked", base + "/echo") == "POST hello")
        #expect(get("-o", "/dev/null", "-w", "%{http_code}", base + "/none") == "404")
        #expect(get("-I", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", base + "/health") == "200 0")
        // Debian 12's curl sends no second request on an HTTP/2 connection that allows 2^32-1 streams (with etcd neither),
        // and drops the early answer to an upload that is reset after it; both are told of by hand in other tests.
        let isHTTP2 = version == "--http2-prior-knowledge"
        if !isHTTP2 { #expect(get(base + "/health", base + "/health", base + "/later") == "fine\nfine\nlater\n") }
        let big = String(repeating: "0123456789", count: 300_000)
        let file = "/tmp/covey-http-\(server.port)"
        let written = Subprocess.run("/bin/sh", ["-c", "head -c 3000000 /dev/zero | tr '\\0' x > \(file)"])
        #expect(written.status == 0)
        let echoed = get("--data-binary", "@" + file, "-H", "Expect: 100-continue", base + "/echo")
        #expect(echoed.utf8.count == big.utf8.count + 5)
        #expect(Subprocess.run("/bin/sh", ["-c", "head -c 9000000 /dev/zero > \(file)"]).status == 0)
        if !isHTTP2 {
            #expect(get("--data-binary", "@" + file, "-o", "/dev/null", "-w", "%{http_code}", base + "/echo") == "413")
        }
        _ = Subprocess.run("/bin/rm", [file])
    }

    @Test func `pipelined requests are answered in order`() throws {
        let server = TestServer()
        defer { server.stop() }
        let answer = try exchange(
            server.port,
            ["/later", "/health", "/pieces", "/later", "/health"]
                .map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined())
        let bodies = ["later", "fine", "piece 4", "later", "fine"]
        let lines = answer.split(whereSeparator: \.isNewline).map(String.init)
        #expect(lines.filter(bodies.contains) == bodies, "\(answer)")
    }

    @Test func `thousands of pipelined requests do not overflow the stack`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try RawConnection(port: server.port)
        connection.send(Array(String(repeating: "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", count: 20_000).utf8))
        connection.finishSending()
        let answer = connection.readToEnd()
        #expect(answer.split(separator: 0x0a).count { $0.elementsEqual("fine".utf8) } == 20_000)
    }

    @Test func `connection close and HTTP 1.0 end the connection`() throws {
        let server = TestServer()
        defer { server.stop() }
        for request in ["GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /health HTTP/1.0\r\n\r\n"] {
            let connection = try RawConnection(port: server.port)
            connection.send(Array(request.utf8))
            #expect(String(decoding: connection.readToEnd(), as: UTF8.self).hasSuffix("fine\n"))
        }
    }

    @Test func `a malformed request gets 400 and the end`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try RawConnection(port: server.port)
        connection.send(Array("GET  / HTTP/1.1\r\n\r\n".utf8))
        #expect(String(decoding: connection.readToEnd(), as: UTF8.self).hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
    }

    @Test func `HTTP 1 connections end with a drain`() throws {
        let server = TestServer()
        defer { server.stop() }
        let idle = try RawConnection(port: server.port)
        idle.send(Array("GET /health HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        _ = try idle.read()
        server.drain()
        #expect(idle.readToEnd() == [])
        server.waitForDrain()
    }

    @Test func `a request that is neither gRPC nor wanted gets 415`() throws {
        let server = TestServer(httpToo: false)
        defer { server.stop() }
        let connection = try RawConnection(port: server.port)
        connection.greet()
        connection.send(.request(1, [(":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "a")], flags: 5))
        let head = try connection.next(.headers)
        #expect(head.stream == 1 && head.flags & Frame.endStream != 0)
    }
}
