// A load: connections, each with so many calls in flight, for so long. One thread; what it costs is what it takes from the
// server on a small machine, so the way of a call here is short.

import Foundations
import Glibc

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
    mutating func percentiles(_ shares: [Double]) -> [Double] {
        values.sort()
        if values.isEmpty { return shares.map { _ in 0 } }
        return shares.map { Double(values[min(values.count - 1, Int(Double(values.count) * $0))]) / 1000 }
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
    }

    private(set) var completed = 0
    private(set) var failed = 0
    private(set) var latencies = Latencies()
    private(set) var seconds = 0.0
    private let shape: Shape
    private let request: (Int) -> (path: String, message: [UInt8])
    private var connections: [LoadConnection] = []
    private var started = 0
    private var goesOn = true
    private var now: UInt64 = 0

    /// `request` makes the nth call.
    init(_ shape: Shape, _ request: @escaping (Int) -> (path: String, message: [UInt8])) {
        self.shape = shape
        self.request = request
    }

    @discardableResult
    func run(port: Int) -> Self {
        connections = (0..<shape.connections).map { LoadConnection(port: port, index: $0, owner: self) }
        let begin = monotonic()
        let deadline = begin + UInt64(shape.seconds * 1e9)
        var polls = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        now = begin
        for connection in connections { fill(connection) }
        while connections.contains(where: { $0.inFlight > 0 }) {
            for (i, connection) in connections.enumerated() {
                polls[i].events = Int16(POLLIN) | (connection.wantsToWrite ? Int16(POLLOUT) : 0)
            }
            guard unsafe poll(&polls, nfds_t(polls.count), 10_000) > 0 else { fatalError("no answer for ten seconds") }
            now = monotonic()
            if shape.calls == nil && now >= deadline { goesOn = false }
            for i in polls.indices where polls[i].revents != 0 {
                connections[i].read(now: now)
                if connections[i].isBroken { fatalError("the server closed connection \(i)") }
                fill(connections[i])
            }
        }
        seconds = Double(now - begin) / 1e9
        connections = []
        return self
    }

    private func fill(_ connection: LoadConnection) {
        while connection.inFlight < shape.streams && goesOn {
            if let calls = shape.calls, started >= calls { break }
            let (path, message) = request(started)
            guard connection.open(path, message, now: now) != nil else { break }
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
