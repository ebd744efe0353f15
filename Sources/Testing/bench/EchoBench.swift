// The network stack alone: a unary echo beside etcd's serializable Range, the least it does for a call. Both are loaded by
// h2load, which knows neither, over cleartext and over TLS.

import Foundations
import Glibc
import TestSupport
import Wire

final class EchoBench {
    private let options: BenchOptions
    private let etcd: String
    private let folder: String
    private let report: Report

    init(options: BenchOptions, etcd: String, folder: String, report: Report) {
        self.options = options
        self.etcd = etcd
        self.folder = folder
        self.report = report
    }

    func run() {
        let openssl = Subprocess.run(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder + "/key.pem",
                "-out", folder + "/certificate.pem", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
            ])
        guard openssl.status == 0 else { fail("openssl makes no certificate: \(openssl.output)") }
        let files = (certificate: folder + "/certificate.pem", key: folder + "/key.pem")
        let server = MeasuredServer(
            name: "etcd", program: etcd, extra: ["--log-level", "error"], port: options.port + 10, folder: folder + "/echo",
            tls: ["--cert-file", files.certificate, "--key-file", files.key])
        server.start()
        defer { server.stop() }
        let key = Array("bench/echo".utf8)
        let put = PutRequest(key: key, value: key).encoded()
        UnaryLoad(.init(connections: 1, streams: 1, calls: 1), LoadMethod("/etcdserverpb.KV/Put"), put).run(port: server.port)
        let message = RangeRequest(key: key, serializable: true).encoded()
        write([0, 0, 0, 0, UInt8(message.count)] + message, to: folder + "/body")
        // Itself, as a process of its own.
        guard let program = CommandLine.arguments.first.map({ $0.contains("/") ? $0 : "/proc/self/exe" }) else { return }
        for (one, target) in [(BenchCase.echo, 6.0), (BenchCase.echoTLS, 4.0)] where options.wants(one) {
            let isTLS = one == .echoTLS
            let echo = MeasuredProcess(program, ["serve-echo"] + (isTLS ? [files.certificate, files.key] : []))
            guard let port = Int(echo.readLine().dropFirst("port ".count)) else { fail("the echo server does not start") }
            defer { echo.stop() }
            var (ours, theirs) = (Outcome(), Outcome())
            let scheme = isTLS ? "https" : "http"
            for _ in 0..<options.rounds {
                ours.merge(load({ echo.cpuSeconds }, "\(scheme)://127.0.0.1:\(port)/echo.Echo/Unary"))
                let url = "\(scheme)://127.0.0.1:\(server.port + (isTLS ? 2 : 0))/etcdserverpb.KV/Range"
                theirs.merge(load({ server.cpuSeconds }, url))
            }
            report.add(
                "echo, h2load 16 connections x 64\(isTLS ? ", TLS" : "") (etcd: serializable range)",
                [
                    Figure(name: "throughput", unit: "1/s", ours: ours.rate, theirs: theirs.rate, isBetterHigh: true, target: target),
                    Figure(
                        name: "server CPU per 100,000", unit: "s", ours: ours.cpuPer100k, theirs: theirs.cpuPer100k, target: target),
                ])
        }
    }

    private func load(_ cpu: () -> Double, _ url: String) -> Outcome {
        guard let h2load = RealTools.h2load else { fail("no h2load; `make deps` installs it") }
        let before = cpu()
        let result = Subprocess.run(
            h2load,
            [
                "-D", "\(max(1, Int(options.seconds)))", "-c", "16", "-m", "64", "-t", "1", "-d", folder + "/body",
                "-H", "content-type: application/grpc", "-H", "te: trailers", url,
            ])
        let used = cpu() - before
        var (done, failed, data, rate) = (0, 1, 0, 0.0)
        for line in result.output.split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == "," }
            if line.hasPrefix("finished in") { rate = Double(words[3]) ?? 0 }
            if line.hasPrefix("requests:") { (done, failed) = (Int(words[5]) ?? 0, Int(words[9]) ?? 1) }
            // An error is an answer without data.
            if line.hasPrefix("traffic:") { data = Int(words.dropLast(1).last?.filter(\.isNumber) ?? "") ?? 0 }
        }
        guard done > 0, failed == 0, data >= done * 5 else { fail("h2load \(url): \(result.output)") }
        return Outcome(rates: [rate], count: done, cpu: used)
    }

    private func write(_ bytes: [UInt8], to path: String) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard unsafe Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { fail("\(path): errno \(errno)") }
        close(descriptor)
    }
}
