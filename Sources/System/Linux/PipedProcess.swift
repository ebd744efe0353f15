// Another program, run to its end with a short text on its standard input; what it writes is collected. Its standard error
// is ours.

import CLinux
import Glibc

package enum PipedProcess {
    package struct Result: Sendable {
        package var outcome: ChildProcess.Outcome
        package var output: [UInt8]
    }

    /// What a pipe takes without a reader.
    private static let inputMax = 60_000

    /// Blocks. A name without a slash is looked for along PATH.
    package static func run(_ words: [String], input: [UInt8]) throws(SystemError) -> Result {
        guard let program = words.first, input.count <= inputMax else {
            throw SystemError("exec", words.first ?? "", code: EINVAL)
        }
        var down: [Int32] = [-1, -1]
        var up: [Int32] = [-1, -1]
        guard unsafe pipe(&down) == 0, unsafe pipe(&up) == 0 else { throw SystemError("pipe") }
        for end in down + up { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, down[0], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, up[1], 1)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        unsafe sigemptyset(&none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { for i in unsafe arguments.indices { unsafe free(arguments[i]) } }
        var process: pid_t = 0
        let code = unsafe posix_spawnp(&process, program, &actions, &attributes, &arguments, environ)
        close(down[0])
        close(up[1])
        defer { close(up[0]) }
        guard code == 0 else {
            close(down[1])
            throw SystemError("exec", program, code: code)
        }
        signal(SIGPIPE, SIG_IGN)
        // A program that does not read its input says by its exit code what it thinks of it.
        _ = unsafe input.withUnsafeBytes { unsafe write(down[1], $0.baseAddress, $0.count) }
        close(down[1])
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe read(up[0], &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { break }
            output += buffer[..<count]
        }
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return Result(outcome: signal == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: signal), output: output)
    }
}
