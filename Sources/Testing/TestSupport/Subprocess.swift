// Other programs, run by tests: started with a list of arguments, waited for, their output kept.

import Glibc
import Linux

package struct Subprocess {
    package var status: Int32
    package var output: String

    /// Runs a program to its end; standard output and error together in `output`. Status 128 + n for signal n.
    package static func run(_ program: String, _ arguments: [String], environment: [String: String] = [:]) -> Subprocess {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return Subprocess(status: 127, output: "pipe: errno \(errno)") }
        var pid: pid_t = 0
        let started = spawn(program, arguments, environment, output: ends[1], closing: ends[0], pid: &pid)
        close(ends[1])
        guard started == 0 else {
            close(ends[0])
            return Subprocess(status: 127, output: "\(program): cannot start, errno \(started)")
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(ends[0], &buffer, buffer.count)
            if count > 0 {
                bytes.append(contentsOf: buffer[..<count])
            } else if count == 0 || errno != EINTR {
                break
            }
        }
        close(ends[0])
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
        return Subprocess(status: code, output: String(decoding: bytes, as: UTF8.self))
    }

    /// The same for tests that are tasks: no thread of theirs waits.
    package static func finished(_ program: String, _ arguments: [String]) async -> Subprocess {
        await withCheckedContinuation { done in
            BackgroundThread(name: "subprocess") { done.resume(returning: run(program, arguments)) }.detach()
        }
    }

    private static func spawn(
        _ program: String, _ arguments: [String], _ environment: [String: String], output: Int32, closing: Int32,
        pid: inout pid_t
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        _ = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        posix_spawn_file_actions_addclose(&actions, closing)
        var variables: [String] = []
        var entry = environ
        while let text = entry.pointee {
            let variable = String(cString: text)
            if !environment.keys.contains(String(variable.prefix { $0 != "=" })) { variables.append(variable) }
            entry += 1
        }
        variables += environment.map { "\($0.key)=\($0.value)" }
        // strdup'ed and freed here: posix_spawn copies nothing it needs after it returns.
        var argv = ([program] + arguments).map { strdup($0) } + [nil]
        var envp = variables.map { strdup($0) } + [nil]
        defer { for i in argv.indices { free(argv[i]) }; for i in envp.indices { free(envp[i]) } }
        return posix_spawn(&pid, program, &actions, nil, &argv, &envp)
    }
}
