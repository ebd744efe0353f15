// Two transports that talk to each other, and everything between them that can go wrong.

import Foundations
import Glibc
import Linux
import Raft
import Server
import TestSupport
import Testing

private func message(_ kind: Message.Kind, _ from: TestMember, _ to: TestMember, term: Term = 3) -> Message {
    Message(kind, to: to.id, from: from.id, term: term)
}

/// One of each kind that goes over streams or POSTs, with all fields that it may have.
private func everyKind(_ from: TestMember, _ to: TestMember) -> [Message] {
    Message.Kind.allCases.filter { $0 != .snapshot }.map { kind in
        var message = message(kind, from, to, term: 5)
        (message.logTerm, message.index, message.commit, message.rejectHint) = (4, 9, 8, 7)
        message.reject = kind == .appendResponse
        message.context = [1, 2, 3, 4, 5, 6, 7, 8]
        if [.append, .propose, .readIndex].contains(kind) {
            message.entries = [Entry(term: 4, index: 10, data: nil), Entry(term: 5, index: 11, data: Bytes("value".utf8))]
        }
        return message
    }
}

@Suite struct TransportTests {
    @Test func `all kinds of messages arrive over streams`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        a.transport.send(everyKind(a, b))
        b.transport.send(everyKind(b, a))
        let count = everyKind(a, b).count
        #expect(test.run { b.messages.count == count && a.messages.count == count })
        // Appends and the rest go over two streams, so they may overtake each other.
        #expect(Set(b.messages.map(\.kind)).count == count)
        for message in everyKind(a, b) { #expect(b.messages.contains(message)) }
        for message in everyKind(b, a) { #expect(a.messages.contains(message)) }
        #expect(a.unreachables == [] && b.unreachables == [])
    }

    @Test func `appends go on from each other, large ones too, in order`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        var index: LogIndex = 0
        var sent: [Message] = []
        var random = SeededRandom(seed: 7)
        for _ in 0..<300 {
            var append = message(.append, a, b)
            (append.index, append.logTerm, append.commit) = (index, index == 0 ? 0 : 3, index)
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                index += 1
                let size = random.chance(1, in: 20) ? 700_000 : 200
                append.entries.append(Entry(term: 3, index: index, data: Bytes(repeating: UInt8(index & 255), count: size)))
            }
            sent.append(append)
        }
        for start in stride(from: 0, to: 300, by: 25) {
            a.transport.send(Array(sent[start..<start + 25]))
            test.pass(milliseconds: 1)
        }
        #expect(test.run { b.messages.count == sent.count })
        #expect(b.messages == sent)
    }

    @Test func `before there are streams messages go as POSTs, and a stranger is answered`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        // b does not know a at all: it learns where to answer from a's requests.
        a.transport.setPeer(b.id, urls: [b.url])
        a.transport.send([message(.vote, a, b), message(.heartbeat, a, b)])
        #expect(test.run { b.messages.count == 2 })
        #expect(a.transport.streamCount(to: b.id) == 0)
        #expect(a.transport.activeSince(b.id) == nil)
        b.transport.send([message(.voteResponse, b, a)])
        #expect(test.run { a.messages.map(\.kind) == [.voteResponse] })
        // As a member it gets streams.
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
    }

    @Test func `cut streams come back, and what was under way counts as lost`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        let since = try #require(a.transport.activeSince(b.id))
        relay.cut()
        // What a reads from b went through the relay: b's writers end, a's readers dial again.
        #expect(test.run { b.unreachables.contains(a.id) && b.transport.streamCount(to: a.id) == 2 })
        #expect(test.run { (a.transport.activeSince(b.id) ?? 0) > since })
        b.transport.send([message(.append, b, a), message(.heartbeat, b, a)])
        #expect(test.run { a.messages.count == 2 })
    }

    @Test func `a member that falls silent is noticed by both ends within seconds`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        // Link heartbeats keep idle streams alive for longer than the limit of silence.
        let since = a.transport.activeSince(b.id)
        test.pass(milliseconds: 6000)
        #expect(a.transport.activeSince(b.id) == since)
        relay.isStalled = true
        relay.isRefusing = true
        let started = Linux.Clock.monotonic()
        #expect(test.run { a.transport.activeSince(b.id) == nil })
        print("silence noticed after \((Linux.Clock.monotonic() - started) / 1_000_000) ms")
        relay.cut()
        relay.isStalled = false
        relay.isRefusing = false
        #expect(test.run { a.transport.activeSince(b.id) != nil })
    }

    @Test func `a member that takes nothing costs a bounded queue`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: a.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [b.url])
        b.transport.setPeer(a.id, urls: [relay.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        relay.isStalled = true
        let data = Bytes(repeating: 1, count: 1 << 20)
        var sent = 0
        while a.unreachables.isEmpty && sent < 200 {
            var append = message(.append, a, b)
            append.entries = [Entry(term: 3, index: 1, data: data)]
            a.transport.send([append])
            sent += 1
            test.pass(milliseconds: 1)
        }
        print("\(sent) MiB until the queue was full")
        #expect((64...100).contains(sent))
        // Nothing goes out for five seconds: the stream is cut, and the queue with it.
        #expect(test.run { a.transport.streamCount(to: b.id) < 2 })
        relay.cut()
        relay.isStalled = false
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
    }

    @Test func `a dead member is reported and costs nothing`() throws {
        let test = try TestLoop()
        let a = try test.member(0xa1)
        let dead = MemberID(0xdd)
        a.transport.setPeer(dead, urls: ["http://127.0.0.1:\(freePort())", "http://127.0.0.1:\(freePort())"])
        for _ in 0..<200 { a.transport.send([Message(.heartbeat, to: dead, from: a.id, term: 1)]) }
        #expect(test.run { a.unreachables.contains(dead) })
        #expect(a.transport.activeSince(dead) == nil)
        // Said once, not ten times a second.
        test.pass(milliseconds: 1500)
        #expect(a.reports.count < 12, "\(a.reports)")
    }

    @Test func `a member whose process is gone is told of once, when nobody listens at any of its URLs`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        a.transport.setPeer(b.id, urls: [b.url, relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        #expect(a.gone.isEmpty && b.gone.isEmpty)
        // The relay still listens: it says nothing about the member behind it.
        b.transport.stop()
        #expect(test.run { relay.connections > 2 })
        #expect(a.gone.isEmpty)
        relay.stop()
        #expect(test.run { a.gone == [b.id] })
        let relays = relay.connections
        test.pass(milliseconds: 500)
        #expect(a.gone == [b.id] && relay.connections == relays)
    }

    @Test func `the second URL is tried when the first does not answer`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2))
        a.transport.setPeer(b.id, urls: ["http://127.0.0.1:\(freePort())", b.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        // New URLs are used at once.
        let relay = try Relay(test.loop, to: b.port)
        defer { relay.stop() }
        b.transport.removePeer(a.id)
        #expect(test.run { a.transport.streamCount(to: b.id) == 0 })
        a.transport.setPeer(b.id, urls: [relay.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(test.run { a.hasStreams(to: b) && relay.connections > 0 })
    }

    @Test func `another cluster's member is kept out`() throws {
        let test = try TestLoop()
        let (a, b) = (try test.member(0xa1), try test.member(0xb2, cluster: 0xc2))
        a.transport.setPeer(b.id, urls: [b.url])
        b.transport.setPeer(a.id, urls: [a.url])
        a.transport.send([message(.heartbeat, a, b)])
        #expect(test.run { a.reports.contains { $0.contains("cluster ID mismatch") } && a.unreachables.contains(b.id) })
        test.pass(milliseconds: 300)
        #expect(a.messages.isEmpty && b.messages.isEmpty)
        #expect(a.transport.activeSince(b.id) == nil && a.removal == nil)
    }

    @Test func `a removed member learns it`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        b.removed = [a.id]
        b.transport.removePeer(a.id)
        #expect(test.run { a.removal != nil })
        #expect(a.removal == "the member has been permanently removed from the cluster")
        #expect(b.removal == nil)
        // What it still sends goes nowhere, and nothing is sent to it.
        a.transport.send([message(.vote, a, b)])
        b.transport.send([message(.heartbeat, b, a)])
        test.pass(milliseconds: 300)
        #expect(a.messages.isEmpty && b.messages.isEmpty)
    }

    @Test func `messages for others or from nobody are dropped`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        var strange = message(.heartbeat, a, b)
        strange.from = .none
        a.transport.send([strange])
        b.removed = [MemberID(0x77)]
        strange.from = MemberID(0x77)
        a.transport.send([strange])
        // A transferee's id in `from` is legal: only the removed and nobody are not.
        strange.from = MemberID(0x78)
        strange.kind = .transferLeader
        a.transport.send([strange])
        #expect(test.run { b.messages.count == 1 })
        #expect(b.messages.first?.from == MemberID(0x78))
        #expect(b.reports.contains { $0.contains("from nobody") } && b.reports.contains { $0.contains("removed member") })
    }

    @Test func `an owner may drop the member from inside a message`() throws {
        let test = try TestLoop()
        let (a, b) = try test.pair()
        b.onMessage = { [unowned b] _ in b.transport.removePeer(MemberID(0xa1)) }
        a.transport.send((0..<50).map { _ in message(.heartbeat, a, b) })
        #expect(test.run { !b.messages.isEmpty })
        test.pass(milliseconds: 50)
        #expect(b.messages.count == 1)
        b.onMessage = { [unowned b] _ in b.transport.stop() }
        a.transport.send([message(.heartbeat, a, b), message(.heartbeat, a, b)])
        #expect(test.run { b.transport.isStopped })
    }
}
