// Members without consensus: transports on one loop, and owners that write down what they are told.

import Connections
import FileFormats
import Foundations
import Glibc
import Linux
import Raft
import Server
import TLSEngine
import TestSupport
import Testing

final class TestMember: PeerTransportOwner {
    let id: MemberID
    private(set) var transport: PeerTransport!
    private(set) var port = 0
    var url: String { "\(scheme)://127.0.0.1:\(port)" }
    let scheme: String
    var messages: [Message] = []
    var snapshots: [(message: Message, database: ReceivedDatabase)] = []
    var snapshotResults: [Bool] = []
    var unreachables: [MemberID] = []
    var gone: [MemberID] = []
    var removed: Set<MemberID> = []
    var removal: String?
    var reports: [String] = []
    var pages: [PeerPage] = []
    /// Asked when a message comes.
    var onMessage: (Message) -> Void = { _ in }

    init(
        _ loop: EventLoop, _ id: UInt64, cluster: UInt64 = 0xc1, folder: String, version: String = "3.5.21",
        tlsServer: TLSContext? = nil, tlsClient: TLSContext? = nil, port: Int = 0
    ) throws {
        self.id = MemberID(id)
        scheme = tlsServer == nil ? "http" : "https"
        var settings = PeerTransport.Settings()
        settings.serverVersion = version
        settings.snapshotDirectory = folder
        settings.storePath = folder + "/store"
        // The port is known only after listening; a free one is found first.
        self.port = port == 0 ? freePort() : port
        settings.peerURLs = [url]
        transport = PeerTransport(
            loop: loop, identity: LogIdentity(member: self.id, cluster: ClusterID(cluster)), settings: settings,
            tlsServer: tlsServer, tlsClient: tlsClient, owner: self)
        transport.report = { [unowned self] text, fields in
            reports.append(text)
            if getenv("PEER_TEST_LOG") != nil { print(self.id, text, fields) }
        }
        try transport.listen(url)
    }

    func received(_ message: Message) {
        messages.append(message)
        onMessage(message)
    }

    func receivedSnapshot(_ message: Message, _ database: ReceivedDatabase) { snapshots.append((message, database)) }
    func unreachable(_ id: MemberID) { unreachables.append(id) }
    func gone(_ id: MemberID) { gone.append(id) }
    func snapshotSent(to id: MemberID, ok: Bool) { snapshotResults.append(ok) }
    func isRemoved(_ id: MemberID) -> Bool { removed.contains(id) }
    func selfRemoved(_ reason: String) { removal = reason }

    func page(_ page: PeerPage, _ answer: @escaping (PeerPageAnswer) -> Void) {
        pages.append(page)
        switch page {
        case .members: answer(.json("[{\"id\":1}]\n"))
        case .version: answer(.json("{\"etcdserver\":\"3.5.1\",\"etcdcluster\":\"3.5.0\"}"))
        case .downgradeEnabled: answer(PeerPageAnswer(contentType: "text/plain", body: Bytes("false".utf8)))
        case .promote: answer(.error(404, "membership: ID not found"))
        case .leaseKeepAlive: answer(.error(404, "lease not found"))
        default: answer(PeerPageAnswer(contentType: "application/protobuf", body: [1, 2]))
        }
    }
}

/// A loop driven by a test, and a folder.
final class TestLoop {
    let loop: EventLoop
    let folder: String
    private var condition: () -> Bool = { false }
    private var timedOut = false
    var members: [TestMember] = []

    init() throws {
        loop = try EventLoop()
        folder = temporaryFolder("peer")
    }

    deinit {
        for member in members { member.transport.stop() }
        for name in files() { unlink(folder + "/" + name) }
        rmdir(folder)
    }

    func files() -> [String] {
        guard let folder = opendir(folder) else { return [] }
        defer { closedir(folder) }
        var all: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { all.append(name) }
        }
        return all
    }

    func member(_ id: UInt64, cluster: UInt64 = 0xc1, version: String = "3.5.21") throws -> TestMember {
        let member = try TestMember(loop, id, cluster: cluster, folder: folder, version: version)
        members.append(member)
        return member
    }

    /// Two members who know each other, with streams both ways.
    func pair() throws -> (TestMember, TestMember) {
        let (a, b) = (try member(0xa1), try member(0xb2))
        a.transport.setPeer(b.id, urls: [b.url])
        b.transport.setPeer(a.id, urls: [a.url])
        #expect(run { a.hasStreams(to: b) && b.hasStreams(to: a) })
        return (a, b)
    }

    /// Runs until the condition holds at the end of a turn; false when it never does.
    func run(seconds: UInt64 = 240, until condition: @escaping () -> Bool) -> Bool {
        if condition() { return true }
        var holds = false
        func look() {
            holds = condition()
            if holds { return loop.stop() }
            loop.schedule(after: 2_000_000) { look() }
        }
        look()
        let timer = loop.schedule(after: seconds * 1_000_000_000) { [loop] in loop.stop() }
        loop.run()
        loop.cancel(timer)
        return holds
    }

    /// Lets some time pass, for what must not happen.
    func pass(milliseconds: UInt64) {
        loop.schedule(after: milliseconds * 1_000_000) { [loop] in loop.stop() }
        loop.run()
    }
}

extension TestMember {
    /// Messages to the other go over streams: seen by sending one of each kind of way.
    func hasStreams(to other: TestMember) -> Bool {
        transport.activeSince(other.id) != nil && transport.streamCount(to: other.id) == 2
    }
}

/// Forwards connections, until told otherwise.
final class Relay {
    final class End: EventHandler {
        let descriptor: Int32
        unowned let relay: Relay
        var other: End!
        var registration: EventLoop.Registration?
        var backlog: [UInt8] = []
        var isClosed = false

        init(_ descriptor: Int32, _ relay: Relay) throws {
            self.descriptor = descriptor
            self.relay = relay
            registration = try relay.loop.register(descriptor, self)
        }

        func ready(readable: Bool, writable: Bool) {
            if relay.isStalled { return interest() }
            if writable { flush() }
            guard readable, other.backlog.isEmpty, !isClosed else { return }
            var room = [UInt8](repeating: 0, count: 65536)
            let count = read(descriptor, &room, room.count)
            if count > 0 {
                relay.bytes += count
                other.backlog = Array(room[..<count])
                if let change = relay.tamper { change(&other.backlog) }
                other.flush()
            } else if count == 0 || errno != EAGAIN {
                close()
            }
        }

        func flush() {
            guard !isClosed else { return }
            let count = send(descriptor, backlog, backlog.count, Int32(MSG_NOSIGNAL))
            if count > 0 { backlog.removeFirst(count) }
            interest()
            other.interest()
        }

        func interest() {
            guard let registration, let other else { return }
            relay.loop.change(
                registration, readable: !relay.isStalled && other.backlog.isEmpty,
                writable: !relay.isStalled && !backlog.isEmpty)
        }

        func close() {
            guard !isClosed else { return }
            isClosed = true
            if let registration { relay.loop.deregister(registration) }
            Glibc.close(descriptor)
            other?.close()
        }
    }

    let loop: EventLoop
    private(set) var listener: Listener!
    private var ends: [End] = []
    var isStalled = false { didSet { for end in ends where !end.isClosed { end.interest() } } }
    var isRefusing = false
    var bytes = 0
    var connections = 0
    var tamper: ((inout [UInt8]) -> Void)?
    var url: String { "http://127.0.0.1:\(listener.address.port)" }

    init(_ loop: EventLoop, to port: Int) throws {
        self.loop = loop
        listener = try Listener(try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0], loop: loop) { [unowned self] in
            self.accept($0, port)
        }
    }

    private func accept(_ descriptor: Int32, _ port: Int) {
        connections += 1
        guard !isRefusing, let address = try? SocketAddress.resolve(host: "127.0.0.1", port: "\(port)")[0],
            let onward = try? Socket.connect(address), let a = try? End(descriptor, self), let b = try? End(onward, self)
        else {
            Glibc.close(descriptor)
            return
        }
        (a.other, b.other) = (b, a)
        a.interest()
        b.interest()
        ends += [a, b]
    }

    func cut() {
        for end in ends { end.close() }
        ends = []
    }

    func stop() {
        cut()
        listener.stop()
    }
}

/// A database of zeros.
final class Zeros: DatabaseSource, @unchecked Sendable {
    // One thread of the transport's reads it.
    let byteCount: Int
    private var rest: Int
    init(_ byteCount: Int) { (self.byteCount, rest) = (byteCount, byteCount) }
    func next(_ bytesMax: Int) throws -> Bytes? {
        let count = min(bytesMax, rest)
        rest -= count
        return count == 0 ? nil : Bytes(repeating: 0, count: count)
    }
}
