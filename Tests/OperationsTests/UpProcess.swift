// `covey up` as a process of a test. A shell between the two holds a pipe and kills it when the pipe closes, however the
// test ends; members end with their `covey up`.

import Glibc
import TestSupport

final class UpProcess: @unchecked Sendable {
    // Used by one test at a time.
    private var shell: pid_t = 0
    private var leash: Int32 = -1
    private let errors: String
    private let output: String

    /// `command`: what runs instead of `covey up`; `name`: of its logs.
    init(_ arguments: [String], command: [String] = [RealTools.covey, "up"], name: String = "up", logs folder: String) {
        errors = folder + "/\(name).err"
        output = folder + "/\(name).out"
        for file in [errors, output] { unlink(file) }
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { fatalError("pipe: errno \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        _ = posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        _ = posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let script = "\"$@\" </dev/null & up=$!; read word; kill -${word:-KILL} $up; wait $up"
        var argv = (["sh", "-c", script, "sh"] + command + arguments).map { strdup($0) } + [nil]
        defer { for i in argv.indices { free(argv[i]) } }
        guard posix_spawn(&shell, "/bin/sh", &actions, &attributes, &argv, environ) == 0 else { fatalError("cannot start a shell") }
        close(ends[0])
        leash = ends[1]
    }

    deinit { if shell != 0 { _ = end("KILL") } }

    /// Signals it and waits; its exit code.
    func end(_ signal: String) -> Int32 {
        _ = (signal + "\n").withCString { write(leash, $0, strlen($0)) }
        close(leash)
        var status: Int32 = 0
        while waitpid(shell, &status, 0) < 0 && errno == EINTR {}
        shell = 0
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }

    var events: String { text(errors) }
    var instructions: String { text(output) }

    /// Waits for a line of the events; false when it does not come.
    func tells(_ text: String, seconds: Int = 60) -> Bool { eventually(seconds: seconds) { events.contains(text) } }

    /// Of the last start of this member.
    func processID(_ member: String) -> pid_t? {
        let line = events.split(separator: "\n").last { $0.contains("  \(member)  started (pid ") }
        return line?.split(separator: " ").last.flatMap { pid_t($0.dropLast()) }
    }

    private func text(_ path: String) -> String { Subprocess.run("/bin/cat", [path]).output }
}
