// What is asked of the servers, case by case.

import Foundations
import Glibc
import Wire

final class ServerCases {
    private let options: ServerBench.Options
    private let servers: [MeasuredServer]
    private let value = [UInt8](repeating: 0x78, count: 256)
    private var random = SeededRandom(seed: 1)

    private static let kv = "/etcdserverpb.KV/"

    init(options: ServerBench.Options, servers: [MeasuredServer]) {
        self.options = options
        self.servers = servers
    }

    func all() {
        memory("idle")
        heading()
        let hot = PutRequest(key: Array("bench/hot".utf8), value: value).encoded()
        unary("put, one key", 16, 64) { _ in ("Put", hot) }
        unary("put, one client", 1, 1) { _ in ("Put", hot) }
        let one = RangeRequest(key: Array("bench/hot".utf8)).encoded()
        unary("range, linearizable", 16, 64) { _ in ("Range", one) }
        let local = RangeRequest(key: Array("bench/hot".utf8), serializable: true).encoded()
        unary("range, serializable", 16, 64) { _ in ("Range", local) }
        unary("range, one client", 1, 1) { _ in ("Range", one) }
        if wants("range of 1000") {
            for i in 0..<1000 { put(Array("bench/many/\(1000 + i)".utf8)) }
            let many = RangeRequest(key: Array("bench/many/".utf8), rangeEnd: Array("bench/many0".utf8)).encoded()
            unary("range of 1000", 4, 4) { _ in ("Range", many) }
        }
        unary("txn, mixed", 16, 64) { i in ("Txn", self.txn(i)) }
        if wants("watch") { watch() }
        if wants("keep-alive") { keepAlive() }
        unary("put, random keys", 16, 64) { [self] _ in
            ("Put", PutRequest(key: key(Int(random.next() % UInt64(options.keys))), value: value).encoded())
        }
        if wants("fill") { fill() }
    }

    private func wants(_ name: String) -> Bool {
        options.cases.isEmpty || options.cases.contains { name.hasPrefix($0) }
    }

    /// Thirty-two bytes.
    private func key(_ i: Int) -> [UInt8] {
        let number = String(i)
        return Array(("/registry/pods/default/" + String(repeating: "0", count: 9 - number.count) + number).utf8)
    }

    /// Compare and put, compare and read, by turns.
    private func txn(_ i: Int) -> [UInt8] {
        let key = Array("bench/txn/\(i % 64)".utf8)
        var request = TxnRequest()
        request.compare = [Compare(result: .greater, target: .version, key: key, targetUnion: .version(-1))]
        request.success =
            i % 2 == 0
            ? [RequestOp(request: .requestPut(PutRequest(key: key, value: value)))]
            : [RequestOp(request: .requestRange(RangeRequest(key: key)))]
        request.failure = [RequestOp(request: .requestRange(RangeRequest(key: key)))]
        return request.encoded()
    }

    private func put(_ key: [UInt8]) {
        let message = PutRequest(key: key, value: value).encoded()
        for server in servers { call(server, "Put", message) }
    }

    private func call(_ server: MeasuredServer, _ method: String, _ message: [UInt8]) {
        let load = UnaryLoad(.init(connections: 1, streams: 1, calls: 1)) { _ in (ServerCases.kv + method, message) }
        if load.run(port: server.port).failed > 0 { fatalError("\(server.name) refuses \(method)") }
    }

    private func unary(_ name: String, _ connections: Int, _ streams: Int, _ request: @escaping (Int) -> (String, [UInt8])) {
        guard wants(name) else { return }
        compare("\(name) (\(connections)x\(streams))") { server in
            let load = UnaryLoad(.init(connections: connections, streams: streams, seconds: self.options.seconds)) { i in
                let (method, message) = request(i)
                return (ServerCases.kv + method, message)
            }
            load.run(port: server.port)
            if load.failed > 0 { print("  \(server.name): \(load.failed) calls failed") }
            return Outcome(perSecond: Double(load.completed) / load.seconds, count: load.completed, latencies: load.latencies)
        }
    }

    private func watch() {
        compare("watch, 1 key, 1000 watchers on 20") { server in
            WatchLoad(connections: 20, watchers: 50, seconds: self.options.seconds).run(server.port)
        }
    }

    private func keepAlive() {
        compare("keep-alive (16 streams x 16)") { server in
            KeepAliveLoad(connections: 16, leases: 16, seconds: self.options.seconds).run(server.port)
        }
    }

    // MARK: A million keys

    private func fill() {
        var lines: [[String]] = servers.map { _ in [] }
        for (i, server) in servers.enumerated() {
            let cpu = server.cpuSeconds
            let load = UnaryLoad(.init(calls: options.keys)) { [self] i in
                // Every key once, in an order that is neither sorted nor random: the same for both.
                (ServerCases.kv + "Put", PutRequest(key: key(i * 387_420_489 % options.keys), value: value).encoded())
            }
            load.run(port: server.port)
            lines[i] = [
                fixed(Double(load.completed) / load.seconds, 0), fixed((server.cpuSeconds - cpu) * 100_000 / Double(options.keys), 2),
            ]
        }
        for (i, server) in servers.enumerated() {
            sleep(2)
            lines[i].append("\(server.kibibytes("VmRSS") / 1024) (\(server.kibibytes("RssAnon") / 1024))")
            server.stop()
            lines[i].append(fixed(server.start(), 2))
            lines[i].append("\(server.kibibytes("VmRSS") / 1024) (\(server.kibibytes("RssAnon") / 1024))")
        }
        print("\n\(options.keys) keys of 32 + 256 bytes: put/s, CPU s/100k, RSS MiB (anonymous), restart s, RSS after restart")
        for (i, server) in servers.enumerated() {
            print(server.name.padding(14) + lines[i].map { padded($0, 14) }.joined())
        }
    }

    // MARK: The table

    private func heading() {
        print(
            "case".padding(36) + padded("server", 12) + padded("/s", 11) + padded("x", 7) + padded("CPU s/100k", 12)
                + padded("x", 7) + padded("p50 us", 9) + padded("p99 us", 9))
    }

    private func compare(_ name: String, _ measure: (MeasuredServer) -> Outcome) {
        var outcomes = servers.map { _ in Outcome() }
        for _ in 0..<options.rounds {
            for (i, server) in servers.enumerated() {
                let cpu = server.cpuSeconds
                var outcome = measure(server)
                outcome.cpu = server.cpuSeconds - cpu
                outcomes[i].merge(outcome)
            }
        }
        let theirs = outcomes[1]
        for (i, server) in servers.enumerated() {
            var mine = outcomes[i]
            let percentiles = mine.latencies.percentiles([0.5, 0.99])
            print(
                (i == 0 ? name : "").padding(36) + padded(server.name, 12) + padded(fixed(mine.perSecond, 0), 11)
                    + padded(i == 0 ? fixed(mine.perSecond / theirs.perSecond, 1) : "", 7)
                    + padded(fixed(mine.cpuPer100k, 2), 12)
                    + padded(i == 0 ? fixed(theirs.cpuPer100k / mine.cpuPer100k, 1) : "", 7)
                    + percentiles.map { padded(fixed($0, 0), 9) }.joined())
        }
    }

    private func memory(_ name: String) {
        let parts = servers.map { "\($0.name) \(fixed(Double($0.kibibytes("VmRSS")) / 1024, 1)) MiB (anonymous \(fixed(Double($0.kibibytes("RssAnon")) / 1024, 1)))" }
        print("RSS, \(name): " + parts.joined(separator: ", "))
    }
}

extension String {
    func padding(_ width: Int) -> String { count >= width ? self : self + String(repeating: " ", count: width - count) }
}
