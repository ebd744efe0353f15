// A process under measurement: Covey, etcd or the echo server, its data on the same disk; its CPU time and memory as the
// kernel accounts for them.

import Foundations
import Glibc
import Linux
import TestSupport

/// Ends the run; no process under measurement is left behind.
func fail(_ reason: String) -> Never {
    print("covey-bench: \(reason)")
    fflush(nil)
    MeasuredProcess.running.withLock { for pid in $0 { kill(pid, SIGKILL) } }
    exit(1)
}

/// A child process whose standard input is a pipe of ours, so that it can tell when we are gone.
final class MeasuredProcess {
    static let running = Mutex<[pid_t]>([])

    let pid: pid_t
    private let input: Int32
    private let output: Int32

    /// What it prints goes into a file, or else through `readLine`.
    init(_ program: String, _ arguments: [String], printingInto file: String? = nil) {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        var (toChild, fromChild) = ([Int32](repeating: 0, count: 2), [Int32](repeating: 0, count: 2))
        guard unsafe pipe(&toChild) == 0, unsafe pipe(&fromChild) == 0 else { fail("pipe: errno \(errno)") }
        for descriptor in [toChild[1], fromChild[0]] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        unsafe posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        if let file {
            unsafe posix_spawn_file_actions_addopen(&actions, 1, file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        } else {
            unsafe posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        }
        unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        for descriptor in [toChild[0], fromChild[1]] { unsafe posix_spawn_file_actions_addclose(&actions, descriptor) }
        var argv = unsafe ([program] + arguments).map { unsafe strdup($0) } + [nil]
        defer { for i in unsafe argv.indices { unsafe free(argv[i]) } }
        var pid: pid_t = 0
        let result = unsafe posix_spawn(&pid, program, &actions, nil, &argv, environ)
        guard result == 0 else { fail("\(program) cannot start: errno \(result)") }
        close(toChild[0])
        close(fromChild[1])
        self.pid = pid
        let started = pid
        Self.running.withLock { $0.append(started) }
        input = toChild[1]
        output = fromChild[0]
    }

    /// What the child writes next.
    func readLine() -> String {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = unsafe read(output, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)).prefix { $0 != 0x0a }, as: UTF8.self)
    }

    func stop() {
        kill(pid, SIGTERM)
        close(input)
        close(output)
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        Self.running.withLock { $0.removeAll { $0 == pid } }
    }

    var hasEnded: Bool {
        var status: Int32 = 0
        return unsafe waitpid(pid, &status, WNOHANG) != 0
    }

    /// User and system time, in seconds, of all threads.
    var cpuSeconds: Double {
        let fields = contents("/proc/\(pid)/stat").drop { $0 != ")" }.split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// A field of /proc/PID/status, in MiB.
    func mebibytes(_ field: String) -> Double {
        for line in contents("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix(field + ":") {
            return (Double(line.split { $0 == " " || $0 == "\t" }[1]) ?? 0) / 1024
        }
        return 0
    }
}

/// What /proc says.
func contents(_ path: String) -> String {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
}

/// A member, by itself or one of a cluster.
final class MeasuredServer {
    let name: String
    let port: Int
    let folder: String
    private let program: String
    private let extra: [String]
    private let tlsPort: Int?
    private let member: String
    /// `--initial-cluster`; nil for a cluster of one.
    private let cluster: String?
    private var process: MeasuredProcess?

    /// Takes two ports, and a third if it is to serve TLS as well: `tls` adds the flags that name the certificate.
    init(
        name: String, program: String, extra: [String], port: Int, folder: String, tls: [String]? = nil, member: String = "n1",
        cluster: String? = nil
    ) {
        self.member = member
        self.cluster = cluster
        self.name = name
        self.program = program
        self.extra = extra + (tls ?? [])
        self.port = port
        self.folder = folder
        tlsPort = tls == nil ? nil : port + 2
    }

    /// Starts the process; seconds until it answered a linearizable read.
    @discardableResult
    func start() -> Double {
        let begin = monotonic()
        launch()
        awaitAnswer(since: begin)
        return Double(monotonic() - begin) / 1e9
    }

    func launch() {
        let (client, peer) = ("http://127.0.0.1:\(port)", "http://127.0.0.1:\(port + 1)")
        let listen = tlsPort.map { "\(client),https://127.0.0.1:\($0)" } ?? client
        if UnaryLoad.isAnswered(port: port) { fail("port \(port) is in use; --port chooses others") }
        let process = MeasuredProcess(
            program,
            extra + [
                "--name", member, "--data-dir", folder, "--listen-client-urls", listen, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster ?? "\(member)=\(peer)",
                "--quota-backend-bytes", "8589934592",
            ])
        self.process = process
    }

    func awaitAnswer(since begin: UInt64) {
        guard let process else { return }
        while !UnaryLoad.isAnswered(port: port) {
            if process.hasEnded { fail("\(name) ended instead of serving port \(port)") }
            if monotonic() - begin > 120_000_000_000 { fail("\(name) does not answer") }
            usleep(1_000)
        }
        if process.hasEnded { fail("\(name) ended; port \(port + 1) may be in use, --port chooses others") }
    }

    func stop() {
        process?.stop()
        process = nil
    }

    /// Without what it held: cases before wrote as much as they could, which is more for the faster one.
    func startEmpty() {
        stop()
        _ = Subprocess.run("/bin/rm", ["-rf", folder])
        start()
    }

    var cpuSeconds: Double { process?.cpuSeconds ?? 0 }
    func mebibytes(_ field: String) -> Double { process?.mebibytes(field) ?? 0 }
}
