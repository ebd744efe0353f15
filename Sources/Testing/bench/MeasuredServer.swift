// A server under measurement: a real process, ours or etcd's, with its data on the same disk; its CPU time and memory as
// the kernel accounts for them.

import Foundations
import Glibc
import TestSupport

final class MeasuredServer {
    let name: String
    let port: Int
    private let peerPort: Int
    private let program: String
    private let extra: [String]
    let folder: String
    private(set) var pid: pid_t = 0

    init(name: String, program: String, extra: [String], port: Int, folder: String) {
        self.name = name
        self.program = program
        self.extra = extra
        self.port = port
        self.folder = folder
        peerPort = port + 1
    }

    /// Starts the process; how long until it answered a linearizable read.
    @discardableResult
    func start() -> Double {
        let urls = ["http://127.0.0.1:\(port)", "http://127.0.0.1:\(peerPort)"]
        let arguments =
            [program] + extra + [
                "--name", "n1", "--data-dir", folder, "--listen-client-urls", urls[0], "--advertise-client-urls", urls[0],
                "--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1], "--initial-cluster", "n1=\(urls[1])",
                "--quota-backend-bytes", "8589934592",
            ]
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for descriptor in Int32(0)...2 {
            unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
        }
        var argv = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { for i in unsafe argv.indices { unsafe free(argv[i]) } }
        let begin = monotonic()
        let result = unsafe posix_spawn(&pid, program, &actions, nil, &argv, environ)
        guard result == 0 else { fatalError("\(program) cannot start: errno \(result)") }
        while !answers() {
            if monotonic() - begin > 120_000_000_000 { fatalError("\(name) does not answer") }
            usleep(2_000)
        }
        return Double(monotonic() - begin) / 1e9
    }

    func stop() {
        guard pid != 0 else { return }
        kill(pid, SIGTERM)
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        pid = 0
    }

    /// User and system time, in seconds.
    var cpuSeconds: Double {
        let fields = contents("/proc/\(pid)/stat").drop { $0 != ")" }.split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    func kibibytes(_ field: String) -> Int {
        for line in contents("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix(field + ":") {
            return Int(line.split { $0 == " " || $0 == "\t" }[1]) ?? 0
        }
        return 0
    }

    private func answers() -> Bool {
        // A member that has no leader yet does not answer within the read's time: a health page says so at once.
        let out = Subprocess.run("/usr/bin/curl", ["-s", "-m", "1", "http://127.0.0.1:\(port)/health"]).output
        return out.contains("\"true\"")
    }

    private func contents(_ path: String) -> String {
        guard let file = unsafe fopen(path, "r") else { return "" }
        defer { unsafe fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = unsafe fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
