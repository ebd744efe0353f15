// Connections over their life: pings, keepalive, drain, slow and silent peers, too many of them.

import Connections
import Foundations
import GRPC
import Glibc
import Linux
import TestSupport
import Testing

private func hpackText(_ frame: Frame) -> String { String(decoding: frame.payload, as: UTF8.self) }

@Suite struct ConnectionLifeTests {
    private func open(_ server: TestServer, receiveBuffer: Int32 = 0) throws -> RawConnection {
        let connection = try RawConnection(port: server.port, receiveBuffer: receiveBuffer)
        connection.greet()
        return connection
    }

    private func echo(_ connection: RawConnection, _ stream: UInt32) throws {
        connection.send(.request(stream), .message(stream, [1]))
        while try connection.next(.headers, .data).flags & Frame.endStream == 0 {}
    }

    private let ping = Frame(.ping, [1, 2, 3, 4, 5, 6, 7, 8])

    @Test func `pings are answered, too many are not`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try open(server)
        connection.send(.request(1, [(":path", "/test.Echo/Never")] + Frame.grpcFields.filter { $0.0 != ":path" }))
        connection.send(.message(1, []))
        for _ in 0..<3 {
            connection.send(ping)
            #expect(try connection.next(.ping, .goAway).payload == ping.payload)
        }
        connection.send(ping)
        connection.send(ping)
        let away = try connection.next(.goAway)
        #expect(away.be32(4) == 11 && String(decoding: away.payload[8...], as: UTF8.self) == "too_many_pings")
        _ = connection.readToEnd()
        #expect(server.probe.wait { $0.cancelled == 1 })
    }

    @Test func `pings between answers are welcome`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try open(server)
        for i in 0..<20 {
            connection.send(ping)
            try echo(connection, UInt32(i) * 2 + 1)
        }
    }

    @Test func `a silent peer is pinged, and cut when it does not answer`() throws {
        var limits = GRPCServer.Limits()
        limits.keepaliveInterval = 1_000_000
        limits.keepaliveTimeout = 1_000_000
        let server = TestServer(limits)
        defer { server.stop() }
        let connection = try open(server)
        _ = try connection.next(.ping)
        #expect(throws: RawConnection.Ending.closed) { try connection.next(.goAway) }
    }

    @Test func `a peer that says nothing at first is cut`() throws {
        var limits = GRPCServer.Limits()
        limits.headTimeout = 1_000_000
        let server = TestServer(limits)
        defer { server.stop() }
        for start in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost:", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"] {
            let connection = try RawConnection(port: server.port)
            connection.send(Array(start.utf8))
            #expect(connection.readToEnd() == [], "after \"\(start)\"")
        }
    }

    @Test func `an idle HTTP connection between requests is left alone`() throws {
        var limits = GRPCServer.Limits()
        limits.headTimeout = 1_000_000_000
        let server = TestServer(limits)
        defer { server.stop() }
        let connection = try RawConnection(port: server.port)
        connection.send(Array("GET /health HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        _ = try connection.read()
        letTimePass(milliseconds: 2_500)  // longer than the server looks: the thing tested is that nothing happens
        connection.send(Array("GET /health HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
        #expect(String(decoding: try connection.read(), as: UTF8.self).hasPrefix("HTTP/1.1 200"))
    }

    @Test func `drain announces the end, serves what comes, then ends`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try open(server)
        let hold = [(":path", "/test.Echo/Hold")] + Frame.grpcFields.filter { $0.0 != ":path" }
        let chat = [(":path", "/test.Echo/Chat")] + Frame.grpcFields.filter { $0.0 != ":path" }
        connection.send(.request(1, hold), .message(1, []), .request(3, chat))
        try echo(connection, 5)  // now the server has seen both
        server.drain()
        let notice = try connection.next(.goAway)
        #expect(notice.be32(0) == 0x7fff_ffff && notice.be32(4) == 0)
        let ended = try connection.next(.headers)
        #expect(ended.stream == 3 && ended.flags & Frame.endStream != 0)
        // On its way when the notice came: still served.
        let release = [(":path", "/test.Echo/Release")] + Frame.grpcFields.filter { $0.0 != ":path" }
        connection.send(.request(7, release), .message(7, [42]))
        var got: [UInt32: [UInt8]] = [:]
        var final: Frame?
        while let frame = try? connection.nextFrame() {
            if frame.type == Frame.Kind.data.rawValue { got[frame.stream, default: []] += frame.payload.dropFirst(5) }
            if frame.type == Frame.Kind.goAway.rawValue { final = frame }
        }
        #expect(got[1] == [42] && got[7] == Array("1".utf8))
        #expect(final?.be32(0) == 7)
        server.waitForDrain()
    }

    @Test func `drain does not wait for ever`() throws {
        let server = TestServer()
        defer { server.stop() }
        let connection = try open(server)
        let never = [(":path", "/test.Echo/Never")] + Frame.grpcFields.filter { $0.0 != ":path" }
        connection.send(.request(1, never), .message(1, []))
        try echo(connection, 3)
        server.drain(timeout: 50_000_000)
        server.waitForDrain()
        _ = connection.readToEnd()
        #expect(server.probe.wait { $0.cancelled == 1 })
    }

    /// A peer that asks and does not read: what it asks for is produced as far as the bounds go and no further.
    @Test func `a peer that does not read costs bounded memory`() throws {
        let server = TestServer(sendBufferBytes: 16384)
        defer { server.stop() }
        let connection = try open(server, receiveBuffer: 4096)
        // All window there is, so that only the socket holds the server back.
        connection.send(Frame(.settings, Frame.setting(4, 0x7fff_ffff)), Frame(.windowUpdate, Frame.be32(0x7fff_0000)))
        let expand = [(":path", "/test.Echo/Expand")] + Frame.grpcFields.filter { $0.0 != ":path" }
        connection.send(.request(1, expand), .message(1, Array("100000,10000".utf8)))  // 1 GB
        // And pings, whose answers would pile up too.
        let other = try open(server)
        var before = -1
        while true {
            try echo(other, UInt32(before + 2) | 1)
            let sent = server.probe.counts.withLock { $0.sent }
            if sent == before { break }
            before = sent
            letTimePass(milliseconds: 100)
        }
        let counts = server.probe.counts.withLock { $0 }
        #expect(counts.queuedMax <= 64 * 1024 + 10_005, "\(counts.queuedMax) bytes in a stream's queue")
        #expect(counts.sent <= 1000, "\(counts.sent) messages of 10 kB produced for a peer that reads nothing")
        // It reads after all: everything comes.
        var got = 0
        while got < 200_000_000 { got += try connection.read(atMost: 1 << 20).count }
    }

    @Test func `requests of a peer that does not read its answers are not read either`() throws {
        let server = TestServer(sendBufferBytes: 16384)
        defer { server.stop() }
        let connection = try RawConnection(port: server.port, receiveBuffer: 4096, seconds: 2)
        let request =
            Array("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".utf8) + [UInt8](repeating: 0x61, count: 100_000)
        var accepted = 0
        // Either the sending stops (the kernel's buffers are full because nobody reads) or the server hangs up.
        while accepted < 2000, connection.send(request) { accepted += 1 }
        #expect(accepted < 500, "\(accepted) requests of 100 kB taken")
    }

    @Test func `a connection that breaks cancels its calls`() throws {
        let server = TestServer()
        defer { server.stop() }
        var connection: RawConnection? = try open(server)
        let never = [(":path", "/test.Echo/Never")] + Frame.grpcFields.filter { $0.0 != ":path" }
        for i in 0..<10 { connection?.send(.request(UInt32(i) * 2 + 1, never), .message(UInt32(i) * 2 + 1, [])) }
        try echo(connection!, 99)
        var noLinger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(connection!.descriptor, SOL_SOCKET, SO_LINGER, &noLinger, socklen_t(MemoryLayout<linger>.size))
        connection = nil  // a reset, not an orderly end
        #expect(server.probe.wait { $0.cancelled == 10 })
    }

    @Test func `unfinished messages are bounded over all streams`() throws {
        var limits = GRPCServer.Limits()
        limits.unfinishedBytesMax = 100_000
        let server = TestServer(limits)
        defer { server.stop() }
        let connection = try open(server)
        for i in 0..<20 {
            let stream = UInt32(i) * 2 + 1
            connection.send(
                .request(stream), Frame(.data, stream: stream, [0] + Frame.be32(1_000_000) + [UInt8](repeating: 1, count: 10_000)))
        }
        let refused = try connection.next(.headers)
        #expect(refused.flags & Frame.endStream != 0)
        for i in 0..<20 { connection.send(Frame(.reset, stream: UInt32(i) * 2 + 1, Frame.be32(8))) }
        try echo(connection, 101)
        // The room is free again.
        connection.send(.request(103), Frame(.data, stream: 103, [0] + Frame.be32(90_000) + [UInt8](repeating: 1, count: 10_000)))
        for _ in 0..<5 { connection.send(Frame(.data, stream: 103, [UInt8](repeating: 1, count: 16_000))) }
        while try connection.next(.data).stream != 103 {}
    }

    @Test func `without descriptors the server says so, does not spin, and recovers`() async {
        await #expect(processExitsWith: .success) {
            let server = TestServer()
            let first = try RawConnection(port: server.port)
            first.greet()
            _ = try first.next(.settings)
            // The next free number and no more.
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            let probe = dup(0)
            close(probe)
            var held: [RawConnection] = []
            limit.rlim_cur = rlim_t(probe + 4)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            // Client and server share the process: each connection takes two.
            while let more = try? RawConnection(port: server.port), held.count < 100 { held.append(more) }
            let told = server.probe.wait { !$0.reports.isEmpty }
            var usage = rusage()
            getrusage(0, &usage)
            let before = usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000
            letTimePass(milliseconds: 1_000)
            getrusage(0, &usage)
            let spent = usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 - before
            held = []
            // Until the server has closed its ends it may still turn newcomers away.
            func isServed() -> Bool {
                guard let again = try? RawConnection(port: server.port, seconds: 5) else { return false }
                again.greet()
                return (try? again.next(.settings)) != nil
            }
            let recovered = eventually { isServed() }
            first.send(Frame(.ping, [UInt8](repeating: 1, count: 8)))
            let stillThere = (try? first.next(.ping)) != nil
            let reports = server.probe.counts.withLock { $0.reports }
            guard told, stillThere, recovered, spent < 300, reports.count == 1, reports[0].contains("too many open files")
            else {
                print("told \(told), first \(stillThere), recovered \(recovered), spent \(spent) ms, \(reports)")
                exit(1)
            }
            server.stop()
        }
    }
}
