// The log as the code sees it:
//
//     log.info("serving client traffic insecurely", ["address": "\(address)", "connections": .integer(count)])
//
// Nothing of a line is built when its level is off: message and fields are autoclosures, and the check is one relaxed
// load. A line is one write, under one lock, so lines of several threads never mix. Identical lines (level and message)
// above a hundred a second are thinned out to every hundredth.

import Foundations
import Glibc
import Linux

import struct Synchronization.Atomic

package final class Logger: Sendable {
    private let core: LogCore
    private let name: String
    private let base: [(name: String, value: LogValue)]

    package init(level: LogLevel, outputs: [any LogSink], sampling: Bool = true) {
        core = LogCore(level: level, outputs: outputs, sampling: sampling)
        name = ""
        base = []
    }

    private init(_ core: LogCore, _ name: String, _ base: [(name: String, value: LogValue)]) {
        self.core = core
        self.name = name
        self.base = base
    }

    /// Says nothing.
    package static let silent = Logger(level: .fatal, outputs: [])

    /// A part's own voice: the `logger` key, and fields that every line of it carries.
    package func named(_ name: String, _ fields: KeyValuePairs<String, LogValue> = [:]) -> Logger {
        let full = self.name.isEmpty || name.isEmpty ? self.name + name : self.name + "." + name
        return Logger(core, full, base + fields.map { ($0.key, $0.value) })
    }

    package var level: LogLevel {
        get { LogLevel(rawValue: core.level.load(ordering: .relaxed)) ?? .info }
        set { core.level.store(newValue.rawValue, ordering: .relaxed) }
    }

    @inline(__always)
    package func isOn(_ level: LogLevel) -> Bool { level.rawValue >= core.level.load(ordering: .relaxed) }

    package func debug(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) {
        if isOn(.debug) { write(.debug, message(), fields(), file, line) }
    }

    package func info(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) {
        if isOn(.info) { write(.info, message(), fields(), file, line) }
    }

    package func warn(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) {
        if isOn(.warn) { write(.warn, message(), fields(), file, line) }
    }

    package func error(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) {
        if isOn(.error) { write(.error, message(), fields(), file, line) }
    }

    /// Says why and ends the process with code 1.
    package func fatal(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) -> Never {
        write(.fatal, message(), fields(), file, line)
        exit(1)
    }

    /// For callers that choose the level at run time.
    package func log(
        _ level: LogLevel, _ message: @autoclosure () -> String,
        _ fields: @autoclosure () -> KeyValuePairs<String, LogValue> = [:],
        file: StaticString = #fileID, line: UInt = #line
    ) {
        if isOn(level) { write(level, message(), fields(), file, line) }
    }

    /// For fields that were gathered elsewhere.
    package func log(
        _ level: LogLevel, _ message: String, list: [(name: String, value: LogValue)], file: StaticString = #fileID,
        line: UInt = #line
    ) {
        guard isOn(level) else { return }
        core.write(
            LogRecord(
                level: level, time: Clock.wall(), logger: name, file: "\(file)", line: line, message: message,
                fields: base + list))
    }

    /// Files are opened anew: after somebody renamed them.
    package func reopen() { core.reopen() }

    private func write(
        _ level: LogLevel, _ message: String, _ fields: KeyValuePairs<String, LogValue>, _ file: StaticString,
        _ line: UInt
    ) {
        core.write(
            LogRecord(
                level: level, time: Clock.wall(), logger: name, file: "\(file)", line: line, message: message,
                fields: base + fields.map { ($0.key, $0.value) }))
    }
}

/// What a logger and its named children share.
final class LogCore: Sendable {
    let level: Atomic<Int8>
    private let state: Mutex<State>

    private struct State {
        var outputs: [any LogSink]
        var sampler: LogSampler?
    }

    init(level: LogLevel, outputs: [any LogSink], sampling: Bool) {
        self.level = Atomic(level.rawValue)
        state = Mutex(State(outputs: outputs, sampler: sampling ? LogSampler() : nil))
    }

    func write(_ record: LogRecord) {
        state.withLock { state in
            if state.sampler?.drops(record) == true { return }
            for output in state.outputs { output.write(record) }
        }
    }

    func reopen() {
        state.withLock { state in
            for output in state.outputs { output.reopen() }
        }
    }
}

/// zap's sampling: the first hundred of a kind in a second, then every hundredth. Kinds share a table of bounded size.
struct LogSampler {
    private static let slotCount = 4096
    private var seconds = [UInt64](repeating: 0, count: slotCount)
    private var counts = [UInt32](repeating: 0, count: slotCount)

    mutating func drops(_ record: LogRecord) -> Bool {
        if record.level >= .dpanic { return false }
        var hash: UInt32 = 2_166_136_261
        for byte in record.message.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        hash = (hash ^ UInt32(UInt8(bitPattern: record.level.rawValue))) &* 16_777_619
        let slot = Int(hash) % LogSampler.slotCount
        let second = record.time / 1_000_000_000
        if seconds[slot] != second {
            seconds[slot] = second
            counts[slot] = 0
        }
        counts[slot] += 1
        return counts[slot] > 100 && (counts[slot] - 100) % 100 != 0
    }
}

/// Lets one line of a kind through per interval and counts what it held back. Belongs to one thread.
package struct LogLimiter: Sendable {
    private let interval: UInt64
    private var nextAllowed: UInt64 = 0
    private var heldBack = 0

    package init(interval nanoseconds: UInt64) { interval = nanoseconds }

    /// How many were held back since the last line when one may be written now, else nil.
    package mutating func allows(now: UInt64) -> Int? {
        guard now >= nextAllowed else {
            heldBack += 1
            return nil
        }
        nextAllowed = now + interval
        defer { heldBack = 0 }
        return heldBack
    }
}
