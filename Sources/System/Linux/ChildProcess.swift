// Another program, run to its end with our output as its own. It starts with nothing on standard input, all signals
// unblocked and at their defaults, whatever this process does with them.

import CLinux
import Glibc

package enum ChildProcess {
    package enum Failure: Error, Equatable, Sendable {
        case notFound
        case notStarted(SystemError)
    }

    package enum Outcome: Equatable, Sendable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    /// Blocks until the program has ended. `environment`: whole lines `NAME=value`. A name without a slash is looked for
    /// along PATH.
    package static func run(_ words: [String], environment: [String]) throws(Failure) -> Outcome {
        guard let program = words.first, !program.isEmpty else { throw .notFound }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe environment.map { unsafe strdup($0) }
        unsafe variables.append(nil)
        defer {
            unsafe arguments.forEach { unsafe free($0) }
            unsafe variables.forEach { unsafe free($0) }
        }
        var process: pid_t = 0
        let code = unsafe posix_spawnp(&process, program, &actions, &attributes, arguments, variables)
        guard code == 0 else {
            throw code == ENOENT ? .notFound : .notStarted(SystemError("exec", program, code: code))
        }
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal: signal)
    }

    /// This process's variables, as lines.
    package static var environment: [String] {
        var lines: [String] = []
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            unsafe lines.append(String(cString: text))
            unsafe entry += 1
        }
        return lines
    }
}
