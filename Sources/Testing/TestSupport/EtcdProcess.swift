// A real etcd for tests: started, killed, started again on the same data and ports. It ends with the test process,
// however that ends: a shell between the two holds a pipe and kills the server when the pipe closes.

import Glibc

package final class EtcdProcess: @unchecked Sendable {
    // Used by one test at a time.
    package let name: String
    package let clientPort: Int
    package let peerPort: Int
    package let folder: String
    package let usesTLS: Bool
    private let program: String
    private let arguments: [String]
    private var shell: pid_t = 0
    private var leash: Int32 = -1

    package var endpoint: String { "\(usesTLS ? "https" : "http")://127.0.0.1:\(clientPort)" }

    /// A member that is not started yet. `cluster`: "name=url" of all members; nil for a cluster of one.
    package init(
        _ program: String, name: String = "m0", ports: (client: Int, peer: Int)? = nil, cluster: String? = nil,
        usesTLS: Bool = false, _ more: [String] = []
    ) {
        self.program = program
        self.name = name
        self.usesTLS = usesTLS
        (clientPort, peerPort) = ports ?? (freePort(), freePort())
        folder = temporaryFolder("etcd")
        let scheme = usesTLS ? "https" : "http"
        let clientURL = "\(scheme)://127.0.0.1:\(clientPort)"
        let peerURL = "http://127.0.0.1:\(peerPort)"
        arguments =
            [
                "--name", name, "--data-dir", folder + "/data", "--listen-client-urls", clientURL,
                "--advertise-client-urls", clientURL, "--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL,
                "--initial-cluster", cluster ?? "\(name)=\(peerURL)", "--unsafe-no-fsync", "--log-level", "error",
                // What its file may grow to is mapped at once: 3.5.1 reads for slow watchers from where its file was mapped before
                // it grew, and falls.
                "--quota-backend-bytes", "\(4 << 30)",
            ] + more
    }

    deinit {
        if say("9\n") { waitpid(shell, nil, 0) }
        _ = Subprocess.run("/bin/rm", ["-rf", folder])
    }

    /// Three members that know each other, started.
    package static func cluster(_ program: String, _ count: Int = 3) async -> [EtcdProcess] {
        let ports = (0..<count).map { _ in (client: freePort(), peer: freePort()) }
        let list = ports.enumerated().map { "m\($0)=http://127.0.0.1:\($1.peer)" }.joined(separator: ",")
        let members = ports.enumerated().map { EtcdProcess(program, name: "m\($0)", ports: $1, cluster: list) }
        for member in members { member.launch() }
        for member in members { await member.listens() }
        return members
    }

    @discardableResult
    package func start() async -> EtcdProcess {
        launch()
        await listens()
        return self
    }

    private func listens() async {
        let port = clientPort
        if await !comesTrue({ canConnect(port: port) }) {
            fatalError("etcd does not listen on port \(clientPort); its log is \(folder)/log")
        }
    }

    /// Started, and not waited for: a member that needs others to answer.
    package func launched() -> EtcdProcess {
        launch()
        return self
    }

    private func launch() {
        var ends: [Int32] = [0, 0]
        guard pipe2(&ends) else { fatalError("pipe: errno \(errno)") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        _ = posix_spawn_file_actions_addopen(&actions, 1, folder + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // Test runners block signals, and children inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let script = """
            folder=$1; shift; "$@" </dev/null & server=$!
            if read word; then kill -$word $server; wait $server; else kill -9 $server; wait $server; rm -rf "$folder"; fi
            """
        var argv = (["sh", "-c", script, "sh", folder, program] + arguments).map { strdup($0) } + [nil]
        defer { for i in argv.indices { free(argv[i]) } }
        guard posix_spawn(&shell, "/bin/sh", &actions, &attributes, &argv, environ) == 0 else { fatalError("cannot start etcd") }
        close(ends[0])
        leash = ends[1]
    }

    /// Both ends closed on exec, so that no other child keeps the leash.
    private func pipe2(_ ends: inout [Int32]) -> Bool {
        guard pipe(&ends) == 0 else { return false }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return true
    }

    /// At once, without a goodbye.
    package func kill() async { await end("9\n") }

    /// As an operator stops it.
    package func stop() async { await end("15\n") }

    private func end(_ word: String) async {
        guard say(word) else { return }
        let shell = shell
        if await !comesTrue({ waitpid(shell, nil, WNOHANG) == shell }) { fatalError("etcd does not end") }
        self.shell = 0
    }

    private func say(_ word: String) -> Bool {
        guard shell != 0 else { return false }
        _ = word.withCString { write(leash, $0, strlen($0)) }
        close(leash)
        return true
    }
}

/// A new folder of our own, where TMPDIR says or under /tmp.
package func temporaryFolder(_ name: String) -> String {
    let parent = RealTools.environment("TMPDIR") ?? "/tmp"
    var template = Array("\(parent)/covey-\(name)-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { fatalError("mkdtemp: errno \(errno)") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
