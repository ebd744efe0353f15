// What a watch is asked for, on the command line, in the environment, or on a line of `watch -i`.

import Flags
import Foundations
import Wire

package struct WatchArguments: Equatable, Sendable {
    package var range: KeyRange
    package var revision: Int64
    package var previous: Bool
    package var progress: Bool
    /// A program to run for each event, with its arguments.
    package var command: [String]

    /// Keys from the environment, as `ETCDCTL_WATCH_KEY` and `ETCDCTL_WATCH_RANGE_END` give them.
    package struct Environment: Sendable {
        package var key = ""
        package var rangeEnd = ""

        package init(key: String = "", rangeEnd: String = "") {
            self.key = key
            self.rangeEnd = rangeEnd
        }
    }

    package init(_ parsed: ParsedCommand, _ environment: Environment) throws(CtlFailure) {
        var keys = parsed.words
        command = []
        if let count = parsed.wordsBeforeDashes {
            command = Array(keys[count...])
            keys = Array(keys[..<count])
            guard !command.isEmpty else {
                throw .arguments("bad number of arguments (found separator --, but no commands)")
            }
        }
        if !environment.key.isEmpty {
            guard keys.isEmpty else {
                throw .arguments("bad number of arguments (found conflicting environment key)")
            }
            keys = [environment.key] + (environment.rangeEnd.isEmpty ? [] : [environment.rangeEnd])
        }
        guard let first = keys.first else { throw .arguments("bad number of arguments") }
        let values = parsed.values
        let key = ArgumentText.bytes(of: first)
        if values.bool("prefix") {
            guard keys.count == 1 else { throw .arguments("`range_end` and `--prefix` are mutually exclusive") }
            range = .prefix(key)
        } else {
            range = KeyRange(key: key, end: keys.count > 1 ? ArgumentText.bytes(of: keys[1]) : [])
        }
        revision = values.integer("rev")
        previous = values.bool("prev-kv")
        progress = values.bool("progress-notify")
    }

    static func missingKey(_ environment: Environment) -> CtlFailure {
        .arguments(
            "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\(GoText.quote(environment.rangeEnd))")
    }

    package var request: WatchCreateRequest {
        var request = WatchCreateRequest()
        request.key = range.key
        request.rangeEnd = range.end
        request.startRevision = revision
        request.prevKv = previous
        request.progressNotify = progress
        return request
    }
}

/// A line of `watch -i`.
package enum InteractiveWatchLine: Sendable {
    case watch(WatchArguments)
    case progress
    /// Goes to standard error; the next line is read.
    case refused(String)
    /// A flag that is none, or has no value of its kind: ends the program, as `watch` itself does.
    case wrong(CtlFailure)

    private static let parser: CommandLineParser = {
        var root = Command("etcdctl")
        root.commands = [CtlCommandTree.watch]
        root.runnable = false
        return CommandLineParser(root, prefixMatching: false)
    }()

    package init(_ line: String, _ environment: WatchArguments.Environment) {
        do {
            self = try InteractiveWatchLine.parse(line, environment)
        } catch {
            self = .refused("Invalid command \(line) (\(error.message))")
        }
    }

    private static func parse(
        _ line: String, _ environment: WatchArguments.Environment
    ) throws(CtlFailure) -> InteractiveWatchLine {
        let words = try ShellWords.split(line)
        guard let first = words.first else { return .refused("Invalid command: \(line) (watch and progress supported)") }
        if first == "progress" { return .progress }
        if words == ["watch"] && environment.key.isEmpty {
            return .refused("Invalid command \(line) (command type or key is not provided)")
        }
        guard first == "watch" else { return .refused("Invalid command \(line) (only support watch)") }
        let result: CommandLineResult
        do { result = try parser.parse(words) } catch { return .wrong(.arguments(error.description)) }
        guard case .run(let parsed) = result else { throw .arguments("flag: help requested") }
        return .watch(try WatchArguments(parsed, environment))
    }
}
