// h2load as the load: it knows neither server, reads answers in small pieces and decodes none, so that of an answer of hundreds
// of kilobytes the load takes little.

import DiskLog
import Foundations
import TestSupport

struct H2Load {
    var connections = 16
    var streams = 64
    var seconds = 2.0
    /// A folder for the request's body, and for what each call took.
    var folder: String

    /// Unary calls with one message, again and again.
    func run(_ url: String, _ message: [UInt8], timesCalls: Bool = false) -> Outcome {
        guard let h2load = RealTools.h2load else { fail("no h2load; `make deps` installs it") }
        let (body, log) = (folder + "/body", folder + "/calls")
        let size = UInt32(message.count)
        let prefix = [0] + (0..<4).map { UInt8(truncatingIfNeeded: size >> (24 - 8 * $0)) }
        do {
            try Disk.replace(body, with: prefix + message)
            // It adds to what is there.
            try Disk.remove(log)
        } catch { fail("\(error)") }
        let result = Subprocess.run(
            h2load,
            [
                "-D", "\(max(1, Int(seconds)))", "-c", "\(connections)", "-m", "\(streams)", "-t", "1", "-d", body,
                "-H", "content-type: application/grpc", "-H", "te: trailers",
            ] + (timesCalls ? ["--log-file=\(log)"] : []) + [url])
        var (done, failed, data, rate) = (0, 1, 0, 0.0)
        for line in result.output.split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == "," }
            if line.hasPrefix("finished in") { rate = Double(words[3]) ?? 0 }
            if line.hasPrefix("requests:") { (done, failed) = (Int(words[5]) ?? 0, Int(words[9]) ?? 1) }
            // An error is an answer without data.
            if line.hasPrefix("traffic:") { data = Int(words.dropLast(1).last?.filter(\.isNumber) ?? "") ?? 0 }
        }
        guard done > 0, failed == 0, data >= done * 5 else { fail("h2load \(url): \(result.output)") }
        return Outcome(rates: [rate], count: done, latencies: timesCalls ? latencies(log) : Latencies())
    }

    /// A line a call: when it began, its status, how many microseconds it took.
    private func latencies(_ log: String) -> Latencies {
        var latencies = Latencies()
        let bytes: [UInt8]
        do { bytes = try Disk.read(log) } catch { fail("\(error)") }
        for line in bytes.split(separator: 0x0a) {
            let columns = line.split(separator: 0x09)
            guard columns.count >= 3, let took = UInt64(String(decoding: columns[2], as: UTF8.self)) else {
                fail("h2load wrote \(String(decoding: line, as: UTF8.self)) into \(log)")
            }
            latencies.add(took * 1000)
        }
        return latencies
    }
}
