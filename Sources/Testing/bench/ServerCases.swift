// What is asked of the servers, case by case.

import Foundations
import Glibc
import TestSupport
import Wire

final class ServerCases {
    private let options: BenchOptions
    private let covey: MeasuredServer
    /// Nil when only the load is wanted.
    private let etcd: MeasuredServer?
    private let report: Report
    /// There, for files of the load.
    private let folder: String
    private let value = [UInt8](repeating: 0x78, count: 256)
    private var random = SeededRandom(seed: 1)
    private let hot = Array("bench/hot".utf8)

    private var servers: [MeasuredServer] { [covey] + (etcd.map { [$0] } ?? []) }

    private static func method(_ name: String) -> LoadMethod { LoadMethod("/etcdserverpb.KV/" + name) }

    init(options: BenchOptions, covey: MeasuredServer, etcd: MeasuredServer?, report: Report, folder: String) {
        self.options = options
        self.folder = folder
        self.covey = covey
        self.etcd = etcd
        self.report = report
    }

    func run() {
        for one in BenchCase.allCases where options.wants(one) { run(one) }
    }

    private func run(_ one: BenchCase) {
        switch one {
        case .echo, .echoTLS: break  // without a server of ours
        case .clusterPut, .clusterRead, .clusterOffered, .clusterRecover: break  // with three of them
        case .idle: idle()
        case .put: unary("put, one key, 256 bytes", "Put", hotPut, targets: (5, 3, 7))
        case .putOne: putOne()
        case .range: unary("range of one key, linearizable", "Range", stored(hotRange), targets: (7, nil, 8))
        case .rangeSerializable:
            let message = stored(RangeRequest(key: hot, serializable: true).encoded())
            unary("range of one key, serializable", "Range", message, targets: (7, nil, 8))
        case .rangeOne: unary("range, one client", "Range", stored(hotRange), connections: 1, streams: 1, targets: (nil, nil, nil))
        case .range1000: rangeOfThousand()
        case .txn:
            let kinds = (0..<128).map(txn)
            unary("txn, mixed", "Txn", kinds[0], targets: (5, nil, nil)) { i, message in message = kinds[i & 127] }
        case .watch:
            compare("watch, 1 key, 1,000 watchers on 20 connections, events", targets: (5, nil, nil)) {
                WatchLoad(connections: 20, watchers: 50, seconds: self.options.seconds).run($0.port)
            }
        case .watchPrint: watchPrint()
        case .keepAlive:
            compare("lease keep-alive, 16 streams x 16", targets: (5, nil, nil)) {
                KeepAliveLoad(connections: 16, leases: 16, seconds: self.options.seconds).run($0.port)
            }
        case .putRandom:
            let (template, place) = putTemplate()
            unary("put, random of \(options.keys) keys", "Put", template, targets: (5, 3, 7)) { [self] _, message in
                number(Int(random.next() % UInt64(options.keys)), at: place, in: &message)
            }
        case .million: million()
        }
    }

    // MARK: Requests

    private var hotPut: [UInt8] { PutRequest(key: hot, value: value).encoded() }
    private var hotRange: [UInt8] { RangeRequest(key: hot).encoded() }

    /// The message, once the key it reads is there.
    private func stored(_ message: [UInt8]) -> [UInt8] {
        put([hotPut])
        return message
    }

    private func put(_ messages: [[UInt8]]) {
        for server in servers {
            let load = UnaryLoad(.init(connections: 1, streams: 16, calls: messages.count), Self.method("Put"), messages[0]) {
                $1 = messages[$0]
            }
            load.run(port: server.port)
            if load.failed > 0 { fail("\(server.name) refuses to put") }
        }
    }

    /// A put of a key of 32 bytes; the place of the key's last digits.
    private func putTemplate() -> (message: [UInt8], place: Int) {
        let key = Array("/registry/pods/default/000000000".utf8)
        let message = PutRequest(key: key, value: value).encoded()
        // Tag and length, then the key.
        return (message, 2 + key.count)
    }

    private func number(_ number: Int, at end: Int, in message: inout [UInt8]) {
        var rest = number
        for i in 1...9 {
            message[end - i] = 0x30 + UInt8(rest % 10)
            rest /= 10
        }
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

    // MARK: Cases

    private func idle() {
        guard let etcd else { return }
        report.add(
            "idle",
            [
                Figure(
                    name: "resident memory", unit: "MiB", ours: covey.mebibytes("VmRSS"), theirs: etcd.mebibytes("VmRSS"), limit: 20),
                Figure(
                    name: "most of it since the start", unit: "MiB", ours: covey.mebibytes("VmHWM"), theirs: etcd.mebibytes("VmHWM"),
                    limit: 30),
            ])
    }

    private func rangeOfThousand() {
        put((0..<1000).map { PutRequest(key: Array("bench/many/\(1000 + $0)".utf8), value: value).encoded() })
        let many = RangeRequest(key: Array("bench/many/".utf8), rangeEnd: Array("bench/many0".utf8)).encoded()
        // By h2load: reading answers of 300 KB is most of what our own load does, and would be most of the figure.
        compare("range of 1,000 keys, h2load (4 connections x 4)", targets: (5, nil, nil)) { server in
            H2Load(connections: 4, streams: 4, seconds: options.seconds, folder: folder)
                .run("http://127.0.0.1:\(server.port)/etcdserverpb.KV/Range", many, timesCalls: true)
        }
    }

    private typealias Targets = (rate: Double?, p99: Double?, cpu: Double?)

    private func unary(
        _ title: String, _ method: String, _ message: [UInt8], connections: Int = 16, streams: Int = 64, targets: Targets,
        _ request: @escaping (Int, inout [UInt8]) -> Void = { _, _ in }
    ) {
        compare("\(title) (\(connections) connections x \(streams))", targets: targets) { server in
            let load = UnaryLoad(
                .init(
                    connections: connections, streams: streams, seconds: self.options.seconds, calls: self.options.calls),
                Self.method(method), message, request)
            load.run(port: server.port)
            if load.failed > 0 { fail("\(server.name): \(load.failed) calls of \(load.completed + load.failed) failed") }
            return Outcome(rates: [Double(load.completed) / load.seconds], count: load.completed, latencies: load.latencies)
        }
    }

    private func compare(_ title: String, targets: Targets, _ measure: (MeasuredServer) -> Outcome) {
        var (ours, theirs) = (Outcome(), Outcome())
        for _ in 0..<options.rounds {
            ours.merge(measured(covey, measure))
            if let etcd { theirs.merge(measured(etcd, measure)) }
        }
        report.add(title, figures(&ours, &theirs, targets))
    }

    private func measured(_ server: MeasuredServer, _ measure: (MeasuredServer) -> Outcome) -> Outcome {
        let cpu = server.cpuSeconds
        var outcome = measure(server)
        outcome.cpu = server.cpuSeconds - cpu
        return outcome
    }

    private func figures(_ ours: inout Outcome, _ theirs: inout Outcome, _ targets: Targets) -> [Figure] {
        [
            Figure(name: "throughput", unit: "1/s", ours: ours.rate, theirs: theirs.rate, isBetterHigh: true, target: targets.rate),
            Figure(name: "p50", unit: "us", ours: ours.latencies.percentile(0.5), theirs: theirs.latencies.percentile(0.5)),
            Figure(
                name: "p99", unit: "us", ours: ours.latencies.percentile(0.99), theirs: theirs.latencies.percentile(0.99),
                target: targets.p99),
            Figure(
                name: "server CPU per 100,000", unit: "s", ours: ours.cpuPer100k, theirs: theirs.cpuPer100k, target: targets.cpu),
        ]
    }

    /// One put at a time, beside what the disk alone takes for it. A client that sleeps until its answer comes pays for being
    /// woken, as the server does for the request; one that polls shows what is left without its own part.
    private func putOne() {
        let disks = BareDisk.Kind.allCases.map { BareDisk("\(folder)/bare-\($0)", $0) }
        for polls in [false, true] { putOne(disks, polls: polls) }
    }

    private func putOne(_ disks: [BareDisk], polls: Bool) {
        var (ours, theirs) = (Outcome(), Outcome())
        var bare = disks.map { _ in Latencies() }
        let load = { (server: MeasuredServer) -> Outcome in
            let load = UnaryLoad(
                .init(
                    connections: 1, streams: 1, seconds: self.options.seconds / 10, calls: self.options.calls, polls: polls),
                Self.method("Put"), self.hotPut)
            load.run(port: server.port)
            return Outcome(rates: [Double(load.completed) / load.seconds], count: load.completed, latencies: load.latencies)
        }
        // What the disk takes changes from one second to the next: short turns.
        for _ in 0..<(options.rounds * 10) {
            for i in disks.indices { disks[i].measure(seconds: options.seconds / 20, into: &bare[i]) }
            ours.merge(measured(covey, load))
            for i in disks.indices { disks[i].measure(seconds: options.seconds / 20, into: &bare[i]) }
            if let etcd { theirs.merge(measured(etcd, load)) }
        }
        var lines = figures(&ours, &theirs, (nil, nil, nil))
        for (i, name) in ["the file grows", "blocks are there"].enumerated() {
            let alone = bare[i].percentile(0.5)
            lines.append(
                Figure(
                    name: "p50 over a bare write + fdatasync, \(name) (\(fixed(alone, 0)) us)", unit: "x",
                    ours: ours.latencies.percentile(0.5) / alone, theirs: theirs.latencies.percentile(0.5) / alone, limit: 1.3))
        }
        report.add("put, one client at a time" + (polls ? ", the client polls" : ""), lines)
    }

    /// Each server's own `ctl watch`, writing what it prints into a file, under transactions of many puts.
    private func watchPrint() {
        guard etcd != nil, let tools = RealTools.etcd35 else { return }
        var (ours, theirs) = (PrintedWatch.Result(), PrintedWatch.Result())
        let calls = Int(options.seconds * 3_000)
        for _ in 0..<options.rounds {
            for server in servers {
                let isOurs = server === covey
                let watch = PrintedWatch(
                    isOurs ? options.covey : tools + "/etcdctl", isOurs ? ["ctl"] : [], server: server, file: server.folder + "-printed")
                let result = watch.run(transactions: calls)
                if isOurs { ours.merge(result) } else { theirs.merge(result) }
            }
        }
        report.add(
            "`ctl watch` under transactions of \(PrintedWatch.putsInOne) puts (16 connections)",
            [
                Figure(name: "events put", unit: "1/s", ours: ours.putRate, theirs: theirs.putRate, isBetterHigh: true),
                Figure(name: "events printed", unit: "1/s", ours: ours.printRate, theirs: theirs.printRate, isBetterHigh: true),
                Figure(name: "last one printed after the last put", unit: "ms", ours: ours.behind, theirs: theirs.behind),
                Figure(name: "tool CPU per 100,000 events", unit: "s", ours: ours.cpu, theirs: theirs.cpu),
            ])
    }

    /// Fills both stores, looks at their memory and starts them again.
    private func million() {
        guard etcd != nil else { return }
        let (template, place) = putTemplate()
        var results: [(rate: Double, cpu: Double, filled: Double, restart: Double, after: Double)] = []
        for server in servers {
            server.startEmpty()
            let cpu = server.cpuSeconds
            let load = UnaryLoad(.init(calls: options.keys), Self.method("Put"), template) { [self] i, message in
                // Every key once, in an order that is neither sorted nor random: the same for both.
                number(i &* 387_420_489 % options.keys, at: place, in: &message)
            }
            load.run(port: server.port)
            if load.failed > 0 { fail("\(server.name): \(load.failed) puts failed") }
            let cost = (server.cpuSeconds - cpu) * 100_000 / Double(options.keys)
            // What was put off is done by then: batches, a snapshot, memory given back.
            sleep(12)
            let filled = server.mebibytes("VmRSS")
            server.stop()
            let restart = server.start()
            results.append((Double(load.completed) / load.seconds, cost, filled, restart, server.mebibytes("VmRSS")))
        }
        let (a, b) = (results[0], results[1])
        report.add(
            "\(options.keys) keys of 32 bytes, values of 256",
            [
                Figure(name: "fill, puts", unit: "1/s", ours: a.rate, theirs: b.rate, isBetterHigh: true),
                Figure(name: "fill, server CPU per 100,000", unit: "s", ours: a.cpu, theirs: b.cpu),
                Figure(name: "resident memory, filled", unit: "MiB", ours: a.filled, theirs: b.filled, target: 2),
                Figure(name: "restart to the first answer", unit: "s", ours: a.restart, theirs: b.restart, target: 2),
                Figure(name: "resident memory, restarted", unit: "MiB", ours: a.after, theirs: b.after, target: 2),
            ])
    }
}
