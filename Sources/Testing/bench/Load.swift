// A load: connections, each with so many calls in flight, for so long. One thread; what it costs is what it takes from the
// server on a small machine, so the way of a call here is short.

import Foundations
import Glibc
import Wire

func monotonic() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Nanoseconds, kept whole and sorted when asked.
struct Latencies {
    private var values: [UInt32] = []

    mutating func add(_ nanoseconds: UInt64) { values.append(UInt32(clamping: nanoseconds)) }
    mutating func add(_ others: Latencies) { values += others.values }

    /// In microseconds.
    mutating func percentile(_ share: Double) -> Double {
        values.sort()
        return values.isEmpty ? 0 : Double(values[min(values.count - 1, Int(Double(values.count) * share))]) / 1000
    }
}

/// Polls connections and lets each read when it can.
struct Poller {
    private var polls: [pollfd]

    init(_ connections: [LoadConnection]) {
        polls = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    }

    /// Waits until there is something to read; the time then.
    mutating func wait(_ connections: [LoadConnection], milliseconds: Int32? = nil) -> UInt64 {
        for (i, connection) in connections.enumerated() {
            polls[i].events = Int16(POLLIN) | (connection.wantsToWrite ? Int16(POLLOUT) : 0)
        }
        let count = unsafe poll(&polls, nfds_t(polls.count), milliseconds ?? 10_000)
        guard count > 0 || milliseconds != nil else { fail("no answer for ten seconds") }
        return monotonic()
    }

    /// Lets those read that can; `handled` is called for each.
    func read(_ connections: [LoadConnection], _ now: UInt64, _ handled: (LoadConnection) -> Void = { _ in }) {
        for i in polls.indices where polls[i].revents != 0 {
            connections[i].read(now: now)
            if let reason = connections[i].broken { fail("port \(connections[i].port), connection \(i): \(reason)") }
            handled(connections[i])
        }
    }
}

/// Calls that are answered once, started again as soon as they end.
final class UnaryLoad: LoadOwner {
    struct Shape {
        var connections = 16
        var streams = 64
        var seconds = 2.0
        /// Ends after so many calls instead, whatever the time.
        var calls: Int?
        /// So many calls begin in a second, whether or not others are answered; each is timed from when it was due.
        var offered: Double?
        /// Looks for answers again and again instead of sleeping until one comes.
        var polls = false
    }

    private(set) var completed = 0
    private(set) var failed = 0
    private(set) var latencies = Latencies()
    private(set) var seconds = 0.0
    private let shape: Shape
    private let method: LoadMethod
    private let request: (_ number: Int, _ message: inout [UInt8]) -> Void
    private var message: [UInt8] = []
    private var connections: [LoadConnection] = []
    private var started = 0
    private var goesOn = true
    private var now: UInt64 = 0
    private var begin: UInt64 = 0

    /// `request` turns the message of a call into that of the nth.
    init(
        _ shape: Shape, _ method: LoadMethod, _ message: [UInt8],
        _ request: @escaping (_ number: Int, _ message: inout [UInt8]) -> Void = { _, _ in }
    ) {
        self.shape = shape
        self.method = method
        self.message = message
        self.request = request
    }

    @discardableResult
    func run(port: Int) -> Self { run(ports: [port]) }

    /// Connections go to the ports by turns.
    @discardableResult
    func run(ports: [Int]) -> Self {
        connections = (0..<shape.connections).map { LoadConnection(port: ports[$0 % ports.count], index: $0, owner: self) }
        begin = monotonic()
        let deadline = begin + UInt64(shape.seconds * 1e9)
        var poller = Poller(connections)
        now = begin
        for connection in connections { fill(connection) }
        while (goesOn && shape.offered != nil) || connections.contains(where: { $0.inFlight > 0 }) {
            now = poller.wait(connections, milliseconds: shape.polls ? 0 : shape.offered == nil ? nil : 1)
            poller.read(connections, now) { if shape.offered == nil { fill($0) } }
            if shape.offered != nil { offer() }
            if shape.calls == nil && now >= deadline { goesOn = false }
        }
        seconds = Double(now - begin) / 1e9
        connections = []
        return self
    }

    /// One linearizable read of a key that need not be there; false when nobody listens or the answer is an error.
    static func isAnswered(port: Int) -> Bool {
        let load = UnaryLoad(Shape(), LoadMethod("/etcdserverpb.KV/Range"), RangeRequest(key: [0x78]).encoded())
        guard let connection = LoadConnection(trying: port, index: 0, owner: load) else { return false }
        load.now = monotonic()
        connection.open(load.method, load.message, now: load.now)
        connection.flush()
        while connection.inFlight > 0 && connection.broken == nil {
            var poll = pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0)
            guard unsafe Glibc.poll(&poll, 1, 10_000) > 0 else { return false }
            connection.read(now: load.now)
            connection.flush()
        }
        return load.completed == 1
    }

    /// Begins what is due, spread over the connections.
    private func offer() {
        guard let rate = shape.offered, goesOn else { return }
        while true {
            let due = begin + UInt64(Double(started) * 1e9 / rate)
            if due > now { break }
            let connection = connections[started % connections.count]
            guard connection.inFlight < 2000 else { fail("\(rate) calls a second are more than port \(connection.port) can take") }
            request(started, &message)
            guard connection.open(method, message, now: due) != nil else { break }
            started += 1
        }
        for connection in connections { connection.flush() }
    }

    private func fill(_ connection: LoadConnection) {
        guard shape.offered == nil else { return }
        while connection.inFlight < shape.streams && goesOn {
            if let calls = shape.calls, started >= calls { break }
            request(started, &message)
            guard connection.open(method, message, now: now) != nil else { break }
            started += 1
        }
        connection.flush()
    }

    func message(_ connection: LoadConnection, _ stream: Int32, _ message: UnsafeRawBufferPointer) {}

    func ended(_ connection: LoadConnection, _ stream: Int32, ok: Bool, latency: UInt64) {
        if ok {
            completed += 1
            latencies.add(latency)
        } else {
            failed += 1
        }
    }
}
