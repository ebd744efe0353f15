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
                ours.merge(load({ echo.cpuSeconds }, "\(scheme)://127.0.0.1:\(port)/echo.Echo/Unary", message))
                let url = "\(scheme)://127.0.0.1:\(server.port + (isTLS ? 2 : 0))/etcdserverpb.KV/Range"
                theirs.merge(load({ server.cpuSeconds }, url, message))
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

    private func load(_ cpu: () -> Double, _ url: String, _ message: [UInt8]) -> Outcome {
        let before = cpu()
        var outcome = H2Load(seconds: options.seconds, folder: folder).run(url, message)
        outcome.cpu = cpu() - before
        return outcome
    }
}
