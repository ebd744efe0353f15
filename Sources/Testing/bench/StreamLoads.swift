// Loads on streams: watchers of one key, and leases kept alive.

import Foundations
import Glibc
import Wire

/// The loop both share: connections are polled until `isOver`.
class StreamLoad: LoadOwner {
    var connections: [LoadConnection] = []
    var now: UInt64 = monotonic()

    func loop(until isOver: () -> Bool) {
        var poller = Poller(connections)
        for connection in connections { connection.flush() }
        while !isOver() {
            now = poller.wait(connections)
            poller.read(connections, now)
            for connection in connections { connection.flush() }
        }
    }

    func message(_ connection: LoadConnection, _ stream: Int32, _ message: UnsafeRawBufferPointer) {}
    func ended(_ connection: LoadConnection, _ stream: Int32, ok: Bool, latency: UInt64) {}
}

/// Watchers of one key, so many on one stream of each connection; one more connection puts, sixteen puts at a time. A put
/// is followed by the next when every watcher has its event, so what is counted is what was delivered.
final class WatchLoad: StreamLoad {
    private let watchers: Int
    private let lanes: Int
    private let seconds: Double
    private var created = 0
    private var events = 0
    private var puts = 0
    private var putFinished = 0
    private var latencies = Latencies()
    private var putAt: [UInt64] = []
    private static let put = PutRequest(key: Array("bench/watched".utf8), value: [UInt8](repeating: 0x78, count: 64)).encoded()

    init(connections: Int, watchers: Int, seconds: Double) {
        lanes = connections
        self.watchers = watchers
        self.seconds = seconds
    }

    func run(_ port: Int) -> Outcome {
        connections = (0...lanes).map { LoadConnection(port: port, index: $0, owner: self) }
        var request = WatchCreateRequest()
        request.key = Array("bench/watched".utf8)
        let create = WatchRequest(requestUnion: .createRequest(request)).encoded()
        for connection in connections.dropLast() {
            guard let stream = connection.open(LoadMethod("/etcdserverpb.Watch/Watch"), create, now: now, ends: false, keepsMessages: true)
            else { fail("a window that is closed at the start") }
            for _ in 1..<watchers { connection.send(stream, create, now: now) }
        }
        let all = lanes * watchers
        loop { created == all }
        let begin = monotonic()
        let deadline = begin + UInt64(seconds * 1e9)
        while now < deadline || events < puts * all {
            while now < deadline && puts - events / all < 16 {
                connections[lanes].open(LoadMethod("/etcdserverpb.KV/Put"), WatchLoad.put, now: now)
                putAt.append(now)
                puts += 1
            }
            let before = events / all
            loop { events / all > before || (now >= deadline && events >= puts * all) }
            for i in before..<(events / all) { latencies.add(now - putAt[i]) }
        }
        let took = Double(now - begin) / 1e9
        loop { putFinished == puts }
        connections = []
        return Outcome(rates: [Double(events) / took], count: events, latencies: latencies)
    }

    override func message(_ connection: LoadConnection, _ stream: Int32, _ message: UnsafeRawBufferPointer) {
        // header, watch_id, created and then events, each a field of its own: counted without decoding them.
        var at = 0
        func varint() -> Int {
            var value = 0, shift = 0
            while at < message.count {
                let byte = unsafe Int(message[at])
                at += 1
                value |= (byte & 0x7f) << shift
                if byte < 0x80 { break }
                shift += 7
            }
            return value
        }
        while at < message.count {
            let tag = varint(), number = varint()
            if tag & 7 == 2 { at += number }
            if tag == 11 << 3 | 2 { events += 1 }
            if tag == 3 << 3 { created += number }
        }
    }

    override func ended(_ connection: LoadConnection, _ stream: Int32, ok: Bool, latency: UInt64) {
        guard ok, connection.index == lanes else { fail("call \(stream) of connection \(connection.index) failed") }
        putFinished += 1
    }
}

/// Streams on which leases are kept alive, so many renewals in flight on each.
final class KeepAliveLoad: StreamLoad {
    private let lanes: Int
    private let leases: Int
    private let seconds: Double
    private var streams: [Int32] = []
    private var renewals: [[UInt8]] = []
    private var turn: [Int] = []
    private var sentAt: [Deque<UInt64>] = []
    private var done = 0
    private var granted = 0
    private var inFlight = 0
    private var latencies = Latencies()
    private var deadline: UInt64 = 0

    init(connections: Int, leases: Int, seconds: Double) {
        lanes = connections
        self.leases = leases
        self.seconds = seconds
    }

    func run(_ port: Int) -> Outcome {
        connections = (0..<lanes).map { LoadConnection(port: port, index: $0, owner: self) }
        let base = Int64(monotonic() & 0xffff_ffff_ffff)
        for i in 0..<leases {
            let grant = LeaseGrantRequest(ttl: 3600, id: base + Int64(i)).encoded()
            connections[0].open(LoadMethod("/etcdserverpb.Lease/LeaseGrant"), grant, now: now)
            renewals.append(LeaseKeepAliveRequest(id: base + Int64(i)).encoded())
        }
        loop { granted == leases }
        let begin = monotonic()
        now = begin
        deadline = begin + UInt64(seconds * 1e9)
        for connection in connections {
            guard
                let stream = connection.open(
                    LoadMethod("/etcdserverpb.Lease/LeaseKeepAlive"), renewals[0], now: now, ends: false, keepsMessages: true)
            else { fail("a window that is closed at the start") }
            streams.append(stream)
            turn.append(0)
            sentAt.append(Deque())
            sentAt[connection.index].append(now)
            inFlight += 1
            for i in 1..<leases {
                connection.send(stream, renewals[i], now: now)
                sentAt[connection.index].append(now)
                inFlight += 1
            }
        }
        loop { now >= deadline && inFlight == 0 }
        let took = Double(now - begin) / 1e9
        connections = []
        return Outcome(rates: [Double(done) / took], count: done, latencies: latencies)
    }

    override func message(_ connection: LoadConnection, _ stream: Int32, _ message: UnsafeRawBufferPointer) {
        let lane = connection.index
        if !sentAt[lane].isEmpty { latencies.add(now - sentAt[lane].removeFirst()) }
        done += 1
        inFlight -= 1
        guard now < deadline else { return }
        turn[lane] = (turn[lane] + 1) % leases
        connection.send(stream, renewals[turn[lane]], now: now)
        sentAt[lane].append(now)
        inFlight += 1
    }

    override func ended(_ connection: LoadConnection, _ stream: Int32, ok: Bool, latency: UInt64) {
        if !ok { fail("call \(stream) of connection \(connection.index) failed") }
        granted += 1
    }
}
