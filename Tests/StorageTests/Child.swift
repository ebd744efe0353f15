// Runs a program and collects what it says: for the victims of the crash tests and for other people's tools.

import Glibc
import TestSupport

struct Child {
    var output: String
    var errors: String
    /// Exit status; 128 + the signal when a signal ended it.
    var status: Int32

    /// `killAfter`: SIGKILL is sent when so many lines of output have come.
    static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], killAfter: Int? = nil
    ) -> Child {
        var outPipe: [Int32] = [0, 0]
        var errorFile = Array("/tmp/covey-child-XXXXXX".utf8CString)
        let errors = mkstemp(&errorFile)
        unlink(errorFile)
        guard pipe(&outPipe) == 0, errors >= 0 else { fatalError("pipe: \(errno)") }
        _ = fcntl(outPipe[0], F_SETFD, FD_CLOEXEC)
        _ = fcntl(outPipe[1], F_SETFD, FD_CLOEXEC)
        _ = fcntl(errors, F_SETFD, FD_CLOEXEC)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, outPipe[1], 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var variables: [String] = ["SWIFT_BACKTRACE=enable=no"]
        for name in ["PATH", "HOME", "LD_LIBRARY_PATH"] {
            if let value = getenv(name) { variables.append("\(name)=\(String(cString: value))") }
        }
        variables += environment.map { "\($0.key)=\($0.value)" }
        var pid: pid_t = 0
        let status = withCStrings([program] + arguments) { argv in
            withCStrings(variables) { envp in posix_spawn(&pid, program, &actions, nil, argv, envp) }
        }
        close(outPipe[1])
        guard status == 0 else { fatalError("cannot run \(program): error \(status)") }
        let output = readAll(outPipe[0]) { lines in
            if let killAfter, lines >= killAfter { kill(pid, SIGKILL) }
        }
        var ended: Int32 = 0
        while waitpid(pid, &ended, 0) < 0, errno == EINTR {}
        lseek(errors, 0, SEEK_SET)
        let code = ended & 0x7f == 0 ? (ended >> 8) & 0xff : 128 + (ended & 0x7f)
        return Child(output: output, errors: readAll(errors), status: code)
    }

    private static func readAll(_ descriptor: Int32, _ progress: (_ lines: Int) -> Void = { _ in }) -> String {
        defer { close(descriptor) }
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        var lines = 0
        while true {
            progress(lines)
            let count = read(descriptor, &piece, piece.count)
            if count > 0 {
                all += piece[..<count]
                lines += piece[..<count].count { $0 == 0x0a }
            } else if count == 0 || errno != EINTR {
                return String(decoding: all, as: UTF8.self)
            }
        }
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = strings.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }
}
