// The event loop on its own.

import Foundations
import Glibc
import Linux
import Testing

import struct Synchronization.Atomic

/// Calls a closure when ready.
private final class Watching: EventHandler {
    var body: (Bool, Bool) -> Void
    init(_ body: @escaping (Bool, Bool) -> Void) { self.body = body }
    func ready(readable: Bool, writable: Bool) { body(readable, writable) }
}

private func socketPair() -> (Int32, Int32) {
    var ends: [Int32] = [0, 0]
    socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0, &ends)
    return (ends[0], ends[1])
}

@Suite struct LoopTests {
    @Test func `timers fire in the order of their deadlines, cancelled ones never`() throws {
        let loop = try EventLoop()
        var random = SeededRandom(seed: 7)
        var fired: [Int] = []
        let delays = (0..<500).map { _ in Int.random(in: 0..<1_000_000, using: &random) }
        var ids: [TimerID] = []
        let start = Clock.monotonic()
        for (i, delay) in delays.enumerated() {
            // Deadlines are taken from the clock at the call: spread so far apart that the calls between do not matter.
            ids.append(loop.schedule(after: UInt64(delay) * 100) { fired.append(i) })
        }
        for i in stride(from: 0, to: 500, by: 3) { loop.cancel(ids[i]) }
        loop.schedule(after: 200_000_000) { loop.stop() }
        loop.run()
        #expect(Clock.monotonic() - start >= 200_000_000)
        #expect(fired.count == 500 - 167)
        #expect(fired.allSatisfy { $0 % 3 != 0 })
        // Cancelling what has fired, or again, harms nobody.
        for id in ids { loop.cancel(id) }
        var again = false
        loop.schedule(after: 0) {
            again = true
            loop.stop()
        }
        loop.run()
        #expect(again)
    }

    @Test func `a timer may cancel and add timers`() throws {
        let loop = try EventLoop()
        var log: [String] = []
        var victim: TimerID?
        loop.schedule(after: 0) {
            log.append("first")
            loop.cancel(victim!)
            loop.schedule(after: 1_000_000) {
                log.append("second")
                loop.stop()
            }
        }
        victim = loop.schedule(after: 500_000) { log.append("victim") }
        loop.run()
        #expect(log == ["first", "second"])
    }

    @Test func `posts of other threads run in their order, none is lost`() throws {
        let loop = try EventLoop()
        let mailbox = loop.mailbox
        let seen = Mutex<[[Int]]>([[], [], [], []])
        let total = Atomic<Int>(0)
        let done = OnItsThread(value: loop)
        let threads = (0..<4).map { thread in
            BackgroundThread(name: "poster") {
                for i in 0..<5000 {
                    mailbox.post {
                        seen.withLock { $0[thread].append(i) }
                        if total.add(1, ordering: .relaxed).newValue == 20000 { done.value.stop() }
                    }
                }
            }
        }
        loop.run()
        for thread in threads { thread.join() }
        #expect(seen.withLock { $0 } == [[Int]](repeating: Array(0..<5000), count: 4))
    }

    @Test func `hooks run at the end of each turn, in order`() throws {
        let loop = try EventLoop()
        var log: [String] = []
        loop.atEndOfTurn { log.append("a") }
        loop.atEndOfTurn { log.append("b") }
        loop.post {}
        loop.schedule(after: 0) {
            log.append("timer")
            loop.turnAgain()
            loop.schedule(after: 0) {
                log.append("timer")
                loop.stop()
            }
        }
        loop.run()
        #expect(log.suffix(3) == ["timer", "a", "b"])
        #expect(log.filter { $0 == "timer" }.count == 2)
        #expect(log.filter { $0 == "a" }.count == log.filter { $0 == "b" }.count)
    }

    @Test func `a descriptor that is let go in a turn hears nothing of that turn, nor does the one after it`() throws {
        let loop = try EventLoop()
        let (a, a2) = socketPair()
        let (b, b2) = socketPair()
        var heard: [String] = []
        var registrations: [EventLoop.Registration] = []
        // Whichever comes first lets the other go and takes a new descriptor into its slot.
        func first(_ name: String, _ other: Int) -> Watching {
            Watching { _, _ in
                heard.append(name)
                loop.deregister(registrations[other])
                let (c, _) = socketPair()
                _ = try? loop.register(c, readable: true, Watching { _, _ in heard.append("stranger") })
                loop.deregister(registrations[1 - other])
                loop.schedule(after: 5_000_000) { loop.stop() }
            }
        }
        registrations.append(try loop.register(a, first("a", 1)))
        registrations.append(try loop.register(b, first("b", 0)))
        write(a2, "x", 1)
        write(b2, "x", 1)
        loop.run()
        #expect(heard.count == 1 && heard[0] != "stranger", "\(heard)")
        for descriptor in [a, a2, b, b2] { close(descriptor) }
    }

    @Test func `interest can be changed`() throws {
        let loop = try EventLoop()
        let (a, b) = socketPair()
        var log: [String] = []
        var registration: EventLoop.Registration?
        registration = try loop.register(
            a, readable: false, writable: true,
            Watching { readable, writable in
                log.append(writable ? "writable" : "readable")
                if log.count == 1 { loop.change(registration!, readable: true, writable: false) } else { loop.stop() }
            })
        write(b, "x", 1)
        loop.run()
        #expect(log == ["writable", "readable"])
        close(a)
        close(b)
    }

    @Test func `addresses keep their form`() throws {
        #expect(try SocketAddress.resolve(host: "127.0.0.1", port: "2379")[0].description == "127.0.0.1:2379")
        let six = try SocketAddress.resolve(host: "::1", port: "80")[0]
        #expect(six.description == "[::1]:80" && six.host == "::1" && six.port == 80)
        #expect(SocketAddress.unix("/tmp/x")?.description == "/tmp/x")
        #expect(SocketAddress.unix(String(repeating: "x", count: 200)) == nil)
        #expect(throws: SystemError.self) { try SocketAddress.resolve(host: "no.such.host.invalid", port: "1") }
    }

    @Test func `unix sockets are taken over from the dead and not from the living`() throws {
        let path = "/tmp/covey-test-\(getpid())-\(Clock.monotonic())"
        let address = try #require(SocketAddress.unix(path))
        let first = try Socket.listen(address)
        #expect(throws: SystemError.self) { try Socket.listen(address) }
        close(first)  // its file stays, as after a crash
        let second = try Socket.listen(address)
        close(second)
        unlink(path)
    }
}
