// Programs that commands start: without blocking the threads that tasks run on.

import Flags
import Foundations
import Glibc
import Linux

enum Children {
    static func run(
        _ command: [String], environment: [String]
    ) async -> Result<ChildProcess.Outcome, ChildProcess.Failure> {
        await withCheckedContinuation { continuation in
            BackgroundThread(name: "child") {
                let result: Result<ChildProcess.Outcome, ChildProcess.Failure>
                do throws(ChildProcess.Failure) {
                    result = .success(try ChildProcess.run(command, environment: environment))
                } catch {
                    result = .failure(error)
                }
                continuation.resume(returning: result)
            }.detach()
        }
    }

    /// Why this counts as a failure; nil for exit status 0.
    static func refusal(
        _ result: Result<ChildProcess.Outcome, ChildProcess.Failure>, _ command: [String]
    ) -> String? {
        switch result {
        case .success(.exited(0)): nil
        case .success(.exited(let code)): "exit status \(code)"
        case .success(.killed(let signal)): "signal: \(SignalText.name(signal))"
        case .failure(.notFound): notFound(command.first ?? "")
        case .failure(.notStarted(let error)): "fork/\(StoredFile.shown(error))"
        }
    }

    /// `["sh" "-c" "exit 1"]`
    static func quoted(_ command: [String]) -> String { "[" + command.map { GoText.quote($0) }.joined(separator: " ") + "]" }

    private static func notFound(_ program: String) -> String {
        program.contains("/") || program.isEmpty
            ? "fork/exec \(program): no such file or directory"
            : "exec: \(GoText.quote(program)): executable file not found in $PATH"
    }
}

enum SignalText {
    static func name(_ signal: Int32) -> String {
        switch signal {
        case SIGINT: "interrupt"
        case SIGTERM: "terminated"
        case SIGKILL: "killed"
        case SIGHUP: "hangup"
        case let other: "signal \(other)"
        }
    }
}

enum Exit {
    static func now(_ code: Int32) -> Never { _exit(code) }
}
