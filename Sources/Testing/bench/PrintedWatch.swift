// A `watch` of the command line that prints what a fast writer writes: how many events a second, and how far behind.

import Foundations
import Glibc
import Wire

final class PrintedWatch {
    /// The best round's rates; the other figures are means.
    struct Result {
        var putRate = 0.0
        var printRate = 0.0
        private var behindSum = 0.0
        private var cpuSum = 0.0
        private var rounds = 0.0

        init() {}

        init(putRate: Double, printRate: Double, behind: Double, cpu: Double) {
            self.putRate = putRate
            self.printRate = printRate
            (behindSum, cpuSum, rounds) = (behind, cpu, 1)
        }

        var behind: Double { behindSum / rounds }
        var cpu: Double { cpuSum / rounds }

        mutating func merge(_ other: Result) {
            putRate = max(putRate, other.putRate)
            printRate = max(printRate, other.printRate)
            behindSum += other.behindSum
            cpuSum += other.cpuSum
            rounds += other.rounds
        }
    }

    static let putsInOne = 100
    private static let prefix = "bench/printed/"
    private static let value = [UInt8](repeating: 0x78, count: 64)
    /// Every event is printed in as many bytes: the kind, the key and the value, a line each.
    private static let printedBytes = "PUT\n".utf8.count + prefix.utf8.count + 4 + value.count + 2

    private let server: MeasuredServer
    private let tool: MeasuredProcess
    private let file: String

    init(_ program: String, _ words: [String], server: MeasuredServer, file: String) {
        self.server = server
        self.file = file
        tool = MeasuredProcess(
            program, words + ["--endpoints", "127.0.0.1:\(server.port)", "watch", "--prefix", PrintedWatch.prefix], printingInto: file)
    }

    func run(transactions: Int) -> Result {
        let probe = TxnRequest(success: [PrintedWatch.put(0)]).encoded()
        var probes = 0
        while printed == 0 {
            if tool.hasEnded { fail("the watch on port \(server.port) ended") }
            _ = load(probe, 1)
            probes += 1
            usleep(20_000)
        }
        // What was put before the watch began is not printed: from here on every event is.
        usleep(200_000)
        let before = printed
        let cpu = tool.cpuSeconds
        let begin = monotonic()
        let puts = load(TxnRequest(success: (0..<PrintedWatch.putsInOne).map(PrintedWatch.put)).encoded(), transactions)
        let putAt = monotonic()
        let total = transactions * PrintedWatch.putsInOne
        while printed - before < total {
            if tool.hasEnded { fail("the watch on port \(server.port) ended") }
            if monotonic() - putAt > 120_000_000_000 { fail("the watch lost events: \(printed - before) of \(total)") }
            usleep(500)
        }
        let end = monotonic()
        let used = tool.cpuSeconds - cpu
        tool.stop()
        return Result(
            putRate: puts * Double(PrintedWatch.putsInOne), printRate: Double(total) * 1e9 / Double(end - begin),
            behind: Double(end - putAt) / 1e6, cpu: used * 100_000 / Double(total))
    }

    private var printed: Int {
        var status = stat()
        return unsafe stat(file, &status) == 0 ? Int(status.st_size) / PrintedWatch.printedBytes : 0
    }

    private func load(_ message: [UInt8], _ calls: Int) -> Double {
        // So few at a time that an etcd whose disk is busy still answers each within its time-out.
        let load = UnaryLoad(.init(connections: min(16, calls), streams: 8, calls: calls), LoadMethod("/etcdserverpb.KV/Txn"), message)
        load.run(port: server.port)
        if load.failed > 0 { fail("\(load.failed) transactions on port \(server.port) failed") }
        return Double(load.completed) / load.seconds
    }

    private static func put(_ number: Int) -> RequestOp {
        RequestOp(request: .requestPut(PutRequest(key: Array("\(prefix)\(1000 + number)".utf8), value: value)))
    }
}
