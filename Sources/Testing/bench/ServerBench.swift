// The whole server beside a real etcd: both run at once, each case is measured in turns (ours, theirs, ours, theirs), so
// that whatever else the machine does meets both. Throughput is the best round's; CPU is the server process's own, over all
// rounds; percentiles are of all rounds. CPU is what to trust on a shared machine.

import Foundations
import Glibc
import TestSupport

struct BenchOptions {
    var rounds = 3
    var seconds = 2.0
    var keys = 1_000_000
    /// Below those the kernel gives to whoever asks for any.
    var port = 23_100
    var covey = RealTools.root + "/.build/release/covey"
    var write: String?
    /// Nothing is started and compared: the load goes to a server that is there, so many calls.
    var attached = false
    var calls: Int?
    var cases: [String] = []

    static let usage = """
        usage: covey-bench [--rounds N] [--seconds N] [--keys N] [--port N] [--covey PROGRAM] [--write FILE] [CASE...]
               covey-bench --attach PORT [--calls N] ... CASE: only the load, for a server under a profiler
               covey-bench mvcc [KEYS] | state [ENTRIES] | storage [FOLDER]
        A case is one of: \(BenchCase.allCases.map(\.rawValue).joined(separator: " "))
        or the beginning of several ("put", "range"); none means all. --write puts the table into FILE, between the lines
        <!-- bench:begin --> and <!-- bench:end -->. Ports N to N + 33 must be free.
        """

    init?(_ arguments: [String]) {
        var rest = arguments[...]
        func number<Value: LosslessStringConvertible>(_ value: inout Value) -> Bool {
            guard let text = rest.popFirst(), let parsed = Value(text) else { return false }
            value = parsed
            return true
        }
        while let argument = rest.popFirst() {
            switch argument {
            case "--rounds": guard number(&rounds), rounds > 0 else { return nil }
            case "--seconds": guard number(&seconds), seconds > 0 else { return nil }
            case "--keys": guard number(&keys), keys > 0 else { return nil }
            case "--port": guard number(&port) else { return nil }
            case "--attach":
                guard number(&port) else { return nil }
                attached = true
            case "--calls":
                var count = 0
                guard number(&count) else { return nil }
                calls = count
            case "--covey": guard number(&covey) else { return nil }
            case "--write":
                guard let file = rest.popFirst() else { return nil }
                write = file
            default:
                guard BenchCase.allCases.contains(where: { $0.isMeant(by: argument) }) else { return nil }
                cases.append(argument)
            }
        }
    }

    func wants(_ one: BenchCase) -> Bool {
        // Under a profiler one case is one case.
        attached ? cases.contains(one.rawValue) : cases.isEmpty || cases.contains { one.isMeant(by: $0) }
    }
}

/// In the order in which they run.
enum BenchCase: String, CaseIterable {
    case echo, echoTLS = "echo-tls", idle
    case put, putOne = "put-one", range, rangeSerializable = "range-serializable", rangeOne = "range-one"
    case range1000 = "range-1000", txn, watch, watchPrint = "watch-print", keepAlive = "keepalive", putRandom = "put-random", million
    case clusterPut = "cluster-put", clusterRead = "cluster-read", clusterOffered = "cluster-offered"
    case clusterRecover = "cluster-recover"

    static let ofTheNetwork: [BenchCase] = [.echo, .echoTLS]
    static let ofClusters: [BenchCase] = [.clusterPut, .clusterRead, .clusterOffered, .clusterRecover]
    static let ofOneMember = allCases.filter { !ofTheNetwork.contains($0) && !ofClusters.contains($0) }

    /// By its name, or the words it begins with.
    func isMeant(by name: String) -> Bool { rawValue == name || rawValue.hasPrefix(name + "-") }
}

enum ServerBench {
    static func run(_ arguments: [String]) {
        guard let options = BenchOptions(arguments) else {
            print(BenchOptions.usage)
            exit(2)
        }
        if options.attached {
            let server = MeasuredServer(name: "", program: "", extra: [], port: options.port, folder: "/var/tmp/covey-bench")
            let folder = temporaryFolder()
            defer { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }
            return ServerCases(options: options, covey: server, etcd: nil, report: Report(etcd: "-"), folder: folder).run()
        }
        guard let tools = RealTools.etcd35, unsafe access(options.covey, X_OK) == 0 else {
            print("covey-bench: needs \(options.covey) and an etcd to compare with; `make bench` makes both")
            exit(1)
        }
        let report = Report(etcd: "etcd 3.5.1")
        let folder = temporaryFolder()
        defer { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }
        let etcd = tools + "/etcd"
        if BenchCase.ofTheNetwork.contains(where: options.wants) {
            EchoBench(options: options, etcd: etcd, folder: folder, report: report).run()
        }
        if BenchCase.ofOneMember.contains(where: options.wants) {
            let covey = MeasuredServer(
                name: "covey", program: options.covey, extra: ["server"], port: options.port, folder: folder + "/covey")
            let other = MeasuredServer(
                name: "etcd", program: etcd, extra: ["--log-level", "error"], port: options.port + 5, folder: folder + "/etcd")
            covey.start()
            other.start()
            ServerCases(options: options, covey: covey, etcd: other, report: report, folder: folder).run()
            covey.stop()
            other.stop()
        }
        if BenchCase.ofClusters.contains(where: options.wants) {
            ClusterBench(options: options, etcd: etcd, folder: folder, report: report).run()
        }
        if let file = options.write { write(report.markdown((["covey-bench"] + arguments).joined(separator: " ")), into: file) }
    }

    private static func temporaryFolder() -> String {
        var template = Array("/var/tmp/covey-bench.XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { fail("mkdtemp: errno \(errno)") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func write(_ table: String, into file: String) {
        let text = contents(file)
        let (begin, end) = ("<!-- bench:begin -->\n", "<!-- bench:end -->")
        guard let head = text.range(of: begin), let tail = text.range(of: end), head.upperBound <= tail.lowerBound else {
            print("covey-bench: \(file) has no lines \(begin.dropLast()) and \(end)")
            exit(1)
        }
        let whole = Array((text[..<head.upperBound] + table + text[tail.lowerBound...]).utf8)
        let descriptor = unsafe open(file, O_WRONLY | O_TRUNC)
        let count = unsafe Glibc.write(descriptor, whole, whole.count)
        close(descriptor)
        if count != whole.count { print("covey-bench: cannot write \(file): errno \(errno)") }
    }
}

extension String {
    fileprivate func range(of other: String) -> Range<Index>? {
        var rest = self[...]
        while !rest.isEmpty {
            if rest.hasPrefix(other) { return rest.startIndex..<rest.index(rest.startIndex, offsetBy: other.count) }
            rest = rest.dropFirst()
        }
        return nil
    }
}
