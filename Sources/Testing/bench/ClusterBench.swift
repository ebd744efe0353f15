// Three members on loopback beside three real ones. Both clusters run at once and are measured in turns, as single members
// are; CPU is that of all three processes.

import Foundations
import Glibc
import TestSupport
import Wire

final class ClusterBench {
    private let options: BenchOptions
    private let report: Report
    private let covey: MeasuredCluster
    private let etcd: MeasuredCluster
    private let value = [UInt8](repeating: 0x78, count: 256)
    private let hot = Array("bench/hot".utf8)

    init(options: BenchOptions, etcd program: String, folder: String, report: Report) {
        self.options = options
        self.report = report
        covey = MeasuredCluster("covey", options.covey, ["server"], port: options.port + 14, folder + "/covey3")
        etcd = MeasuredCluster("etcd", program, ["--log-level", "error"], port: options.port + 24, folder + "/etcd3")
    }

    func run() {
        covey.start()
        etcd.start()
        for one in BenchCase.ofClusters where options.wants(one) {
            switch one {
            case .clusterPut: puts()
            case .clusterRead: reads()
            case .clusterOffered: offered()
            case .clusterRecover: recover()
            default: break
            }
        }
        covey.stop()
        etcd.stop()
    }

    private func load(
        _ method: String, _ message: [UInt8], _ shape: UnaryLoad.Shape, ports: (MeasuredCluster) -> [Int]
    ) -> (ours: Outcome, theirs: Outcome) {
        var outcomes = (ours: Outcome(), theirs: Outcome())
        func one(_ cluster: MeasuredCluster) -> Outcome {
            let cpu = cluster.cpuSeconds
            let load = UnaryLoad(shape, LoadMethod("/etcdserverpb.KV/" + method), message)
            load.run(ports: ports(cluster))
            if load.failed > 0 { fail("\(cluster.name): \(load.failed) calls of \(load.completed + load.failed) failed") }
            return Outcome(
                rates: [Double(load.completed) / load.seconds], count: load.completed, cpu: cluster.cpuSeconds - cpu,
                latencies: load.latencies)
        }
        for _ in 0..<options.rounds {
            outcomes.ours.merge(one(covey))
            outcomes.theirs.merge(one(etcd))
        }
        return outcomes
    }

    private func figures(
        _ both: (ours: Outcome, theirs: Outcome), rate: Double? = nil, p99: Double? = nil, cpu: Double? = nil
    ) -> [Figure] {
        var (ours, theirs) = both
        return [
            Figure(name: "throughput", unit: "1/s", ours: ours.rate, theirs: theirs.rate, isBetterHigh: true, target: rate),
            Figure(name: "p50", unit: "us", ours: ours.latencies.percentile(0.5), theirs: theirs.latencies.percentile(0.5)),
            Figure(
                name: "p99", unit: "us", ours: ours.latencies.percentile(0.99), theirs: theirs.latencies.percentile(0.99),
                target: p99),
            Figure(name: "CPU of all members per 100,000", unit: "s", ours: ours.cpuPer100k, theirs: theirs.cpuPer100k, target: cpu),
        ]
    }

    private func puts() {
        let message = PutRequest(key: hot, value: value).encoded()
        let both = load("Put", message, .init(seconds: options.seconds)) { $0.ports }
        report.add("three members: put, 256 bytes, through all (16 connections x 64)", figures(both, rate: 4, cpu: 5))
    }

    private func reads() {
        for cluster in [covey, etcd] {
            let put = PutRequest(key: hot, value: value).encoded()
            UnaryLoad(.init(connections: 1, streams: 1, calls: 1), LoadMethod("/etcdserverpb.KV/Put"), put).run(port: cluster.ports[0])
        }
        let both = load("Range", RangeRequest(key: hot).encoded(), .init(seconds: options.seconds)) { $0.followers }
        report.add("three members: linearizable range on the followers (16 connections x 64)", figures(both, rate: 5))
    }

    /// The same puts in each second for both, about half of what the slower one can take.
    private func offered() {
        let message = PutRequest(key: hot, value: value).encoded()
        var most = Double.infinity
        for cluster in [covey, etcd] {
            let load = UnaryLoad(.init(seconds: 1), LoadMethod("/etcdserverpb.KV/Put"), message)
            load.run(ports: cluster.ports)
            most = min(most, Double(load.completed) / load.seconds)
        }
        let rate = (most / 2).rounded()
        let both = load("Put", message, .init(seconds: options.seconds, offered: rate)) { $0.ports }
        report.add("three members: \(fixed(rate, 0)) puts offered a second", figures(both, p99: 2))
    }

    /// A follower that was away while a gibibyte was written: until it answers a linearizable read.
    private func recover() {
        var results: [(seconds: Double, memory: Double)] = []
        for cluster in [covey, etcd] {
            let away = cluster.anyFollower
            away.stop()
            let others = cluster.members.filter { $0 !== away }
            let key = Array("bench/bulk/00000".utf8)
            // A request of the load is one frame; so many of them are a gibibyte.
            let message = PutRequest(key: key, value: [UInt8](repeating: 0x79, count: 12_288)).encoded()
            let calls = (1 << 30) / 12_288
            let load = UnaryLoad(
                .init(connections: 8, streams: 2, calls: calls), LoadMethod("/etcdserverpb.KV/Put"), message
            ) { i, message in
                // Tag and length, then the key: its last five digits.
                for (place, unit) in [(0, 10_000), (1, 1000), (2, 100), (3, 10), (4, 1)] {
                    message[2 + key.count - 5 + place] = 0x30 + UInt8(i / unit % 10)
                }
            }
            load.run(ports: others.map(\.port))
            if load.completed != calls { fail("\(cluster.name): \(load.completed) of \(calls) puts of 12 KiB were made") }
            sleep(3)
            let before = others.map { $0.mebibytes("RssAnon") }
            var most = 0.0
            let begin = monotonic()
            away.launch()
            while !UnaryLoad.isAnswered(port: away.port) {
                for (i, member) in others.enumerated() { most = max(most, member.mebibytes("RssAnon") - before[i]) }
                if monotonic() - begin > 300_000_000_000 { fail("\(cluster.name): the member that was away does not come back") }
                usleep(10_000)
            }
            results.append((Double(monotonic() - begin) / 1e9, most))
        }
        report.add(
            "three members: one returns that is 1 GiB behind",
            [
                Figure(name: "until it answers", unit: "s", ours: results[0].seconds, theirs: results[1].seconds, target: 1),
                Figure(name: "anonymous memory added to the others", unit: "MiB", ours: results[0].memory, theirs: results[1].memory),
            ])
        report.note("a member that returns may take 64 MiB of memory from the others at most")
    }
}

/// Three members of one program.
final class MeasuredCluster {
    let name: String
    let members: [MeasuredServer]

    init(_ name: String, _ program: String, _ extra: [String], port: Int, _ folder: String) {
        self.name = name
        let cluster = (1...3).map { "n\($0)=http://127.0.0.1:\(port + 3 * $0 - 2)" }.joined(separator: ",")
        members = (1...3).map {
            MeasuredServer(
                name: "\(name) n\($0)", program: program, extra: extra, port: port + 3 * $0 - 3, folder: "\(folder)-\($0)",
                member: "n\($0)", cluster: cluster)
        }
    }

    func start() {
        let begin = monotonic()
        for member in members { member.launch() }
        for member in members { member.awaitAnswer(since: begin) }
    }

    func stop() { for member in members { member.stop() } }

    var ports: [Int] { members.map(\.port) }
    var cpuSeconds: Double { members.reduce(0) { $0 + $1.cpuSeconds } }

    /// Whether a member leads, by its own metrics.
    private func leads(_ member: MeasuredServer) -> Bool {
        Subprocess.run("/usr/bin/curl", ["-s", "http://127.0.0.1:\(member.port)/metrics"]).output
            .contains("\netcd_server_is_leader 1\n")
    }

    /// Members that do not lead, just now.
    private var following: [MeasuredServer] {
        let found = members.filter { !leads($0) }
        if found.count != 2 { fail("\(name): \(3 - found.count) members lead") }
        return found
    }

    var followers: [Int] { following.map(\.port) }
    var anyFollower: MeasuredServer { following[0] }
}
