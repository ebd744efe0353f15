// A program started by this one, with its output in a file. It is in a process group of its own, so that Ctrl-C at the
// terminal reaches only us and the end of it can be ordered. To end with us whatever happens is the child's part: see
// `endWithParent`.

import CLinux
import Glibc

package struct SupervisedProcess: Sendable, Equatable {
    package enum Exit: Sendable, Equatable, CustomStringConvertible {
        case code(Int32)
        case signal(Int32)

        package var description: String {
            switch self {
            case .code(let code): "exit code \(code)"
            case .signal(let number): "signal \(number) (\(unsafe String(cString: strsignal(number))))"
            }
        }
    }

    package let id: pid_t

    /// `words` begins with the name it is called by. Its output is appended to `log`.
    package static func start(_ program: String, _ words: [String], log: String) throws(SystemError)
        -> SupervisedProcess
    {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // What we block or ignore for ourselves is not for the child.
        var none = sigset_t()
        unsafe sigemptyset(&none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { for i in unsafe arguments.indices { unsafe free(arguments[i]) } }
        var id: pid_t = 0
        let result = unsafe posix_spawn(&id, program, &actions, &attributes, &arguments, environ)
        guard result == 0 else { throw SystemError("start", program, code: result) }
        return SupervisedProcess(id: id)
    }

    package func send(_ signal: Int32) { kill(id, signal) }

    /// How it ended; nil while it runs. Once it has been told, the id may belong to somebody else.
    package func exit() -> Exit? {
        var status: Int32 = 0
        guard unsafe waitpid(id, &status, WNOHANG) == id else { return nil }
        return status & 0x7f == 0 ? .code(status >> 8 & 0xff) : .signal(status & 0x7f)
    }

    /// Of the child, first thing: the kernel sends `signal` when the parent's starting thread ends. False when it has ended
    /// already. Survives `become`.
    package static func endWithParent(_ parent: pid_t, _ signal: Int32) -> Bool {
        covey_end_with_parent(signal)
        return getppid() == parent
    }

    /// Replaces this process's program. Returns only to say why it could not.
    package static func become(_ program: String, _ words: [String]) -> SystemError {
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        unsafe execv(program, &arguments)
        return SystemError("execute", program)
    }
}
