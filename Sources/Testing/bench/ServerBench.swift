// The whole server beside a real etcd: both run at once, each case is measured in turns (ours, theirs, ours, theirs), so
// that whatever else the machine does meets both. Throughput is the best round's; CPU is the server process's own, over all
// rounds; percentiles are of all rounds.
//
//     covey-bench server [--rounds 3] [--seconds 2] [--keys 1000000] [CASE...]

import Foundations
import Glibc
import TestSupport
import Wire

struct Outcome {
    var perSecond = 0.0
    var count = 0
    var cpu = 0.0
    var latencies = Latencies()

    var cpuPer100k: Double { count == 0 ? 0 : cpu * 100_000 / Double(count) }

    mutating func merge(_ other: Outcome) {
        perSecond = max(perSecond, other.perSecond)
        count += other.count
        cpu += other.cpu
        latencies.add(other.latencies)
    }
}

enum ServerBench {
    struct Options {
        var rounds = 3
        var seconds = 2.0
        var keys = 1_000_000
        var port = 25_000
        var covey = RealTools.root + "/.build/release/covey"
        var cases: [String] = []
    }

    static func run(_ arguments: [String]) {
        setvbuf(stdout, nil, _IOLBF, 0)
        var options = Options()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            switch argument {
            case "--rounds": options.rounds = rest.popFirst().flatMap { Int($0) } ?? options.rounds
            case "--seconds": options.seconds = rest.popFirst().flatMap { Double($0) } ?? options.seconds
            case "--keys": options.keys = rest.popFirst().flatMap { Int($0) } ?? options.keys
            case "--port": options.port = rest.popFirst().flatMap { Int($0) } ?? options.port
            case "--covey": options.covey = rest.popFirst() ?? options.covey
            default: options.cases.append(argument)
            }
        }
        guard let etcd = RealTools.etcd35 else {
            print("covey-bench: no etcd to compare with; `make deps` installs one")
            exit(1)
        }
        let folder = temporaryFolder()
        let servers = [
            MeasuredServer(
                name: "covey", program: options.covey, extra: ["server"], port: options.port, folder: folder + "/covey"),
            MeasuredServer(
                name: "etcd 3.5.1", program: etcd + "/etcd", extra: ["--log-level", "error"], port: options.port + 10,
                folder: folder + "/etcd"),
        ]
        for server in servers { server.start() }
        let run = ServerCases(options: options, servers: servers)
        run.all()
        for server in servers { server.stop() }
        _ = Subprocess.run("/bin/rm", ["-rf", folder])
    }

    private static func temporaryFolder() -> String {
        var template = Array("/var/tmp/covey-bench.XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { fatalError("mkdtemp: errno \(errno)") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

func padded(_ text: String, _ width: Int) -> String {
    text.count >= width ? text : String(repeating: " ", count: width - text.count) + text
}

func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let whole = Int((value * scale).rounded())
    if digits == 0 { return "\(whole)" }
    let text = "\(whole)"
    let filled = text.count > digits ? text : String(repeating: "0", count: digits + 1 - text.count) + text
    return filled.dropLast(digits) + "." + filled.suffix(digits)
}
