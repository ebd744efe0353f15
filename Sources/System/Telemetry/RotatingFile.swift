// A log file that starts anew at a size: the full file is renamed to `name-TIME.ext`, and old ones go by number and age.
// The options are the JSON of --log-rotation-config-json: {"maxsize": 100, "maxage": 0, "maxbackups": 0,
// "localtime": false, "compress": false} (megabytes, days, files).

import Foundations
import Glibc
import JSON
import Linux

package struct LogRotation: Sendable, Equatable {
    package var maxSizeMegabytes = 100
    package var maxAgeDays = 0
    package var maxBackups = 0
    package var localTime = false
    package var compress = false

    package init() {}

    /// The message of a refusal is the flag's.
    package struct Refused: Error, Equatable, Sendable, CustomStringConvertible { package var description: String }

    package init(json text: String) throws(Refused) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: text)
        } catch {
            throw Refused(description: "improperly formatted log rotation config: \(error)")
        }
        guard let members = value.members else {
            throw Refused(description: "invalid log rotation config: cannot unmarshal \(value.typeName)")
        }
        for member in members {
            let number = member.value.int64.map { Int($0) }
            switch member.name.lowercased() {
            case "maxsize": maxSizeMegabytes = try LogRotation.need(number, member)
            case "maxage": maxAgeDays = try LogRotation.need(number, member)
            case "maxbackups": maxBackups = try LogRotation.need(number, member)
            case "localtime": localTime = try LogRotation.need(member.value.bool, member)
            case "compress": compress = try LogRotation.need(member.value.bool, member)
            default: continue
            }
        }
        if maxSizeMegabytes == 0 { maxSizeMegabytes = 100 }
    }

    private static func need<T>(_ value: T?, _ member: JSONValue.Member) throws(Refused) -> T {
        guard let value else {
            throw Refused(
                description: "invalid log rotation config: cannot unmarshal \(member.value.typeName) into field "
                    + member.name)
        }
        return value
    }
}

package final class RotatingFileSink: LogSink {
    private struct State {
        var descriptor: Int32
        var size: Int
        var compressors: [pid_t] = []
    }

    private let path: String
    private let format: LogFormat
    private let rotation: LogRotation
    private let bytesMax: Int
    private let state: Mutex<State>

    package init(_ path: String, _ format: LogFormat, _ rotation: LogRotation) throws(SystemError) {
        self.path = path
        self.format = format
        self.rotation = rotation
        bytesMax = rotation.maxSizeMegabytes * 1024 * 1024
        let descriptor = try LogFile.open(path)
        state = Mutex(State(descriptor: descriptor, size: Int(lseek(descriptor, 0, SEEK_END))))
    }

    /// For tests: a limit in bytes.
    init(_ path: String, _ format: LogFormat, _ rotation: LogRotation, bytesMax: Int) throws(SystemError) {
        self.path = path
        self.format = format
        self.rotation = rotation
        self.bytesMax = bytesMax
        let descriptor = try LogFile.open(path)
        state = Mutex(State(descriptor: descriptor, size: Int(lseek(descriptor, 0, SEEK_END))))
    }

    package func write(_ record: LogRecord) {
        let line = format.line(record)
        state.withLock { state in
            if state.size + line.count > bytesMax && state.size > 0 { rotate(&state, record.time) }
            LogFile.writeAll(line, to: state.descriptor)
            state.size += line.count
        }
    }

    /// When the new file cannot be made the old one goes on.
    private func rotate(_ state: inout State, _ now: UInt64) {
        reap(&state)
        let backup = backupName(now)
        guard unsafe rename(path, backup) == 0 else { return }
        do {
            let fresh = try LogFile.open(path)
            close(state.descriptor)
            state.descriptor = fresh
            state.size = 0
        } catch {
            LogFile.writeAll(Array("cannot start a new log file: \(error)\n".utf8), to: state.descriptor)
            return
        }
        removeOld(now)
        if rotation.compress, let process = startCompressor(backup) { state.compressors.append(process) }
    }

    private var split: (stem: String, suffix: String) {
        let slash = path.lastIndex(of: "/")
        guard let dot = path.lastIndex(of: "."), slash.map({ dot > $0 }) ?? true, dot != path.startIndex else {
            return (path, "")
        }
        return (String(path[..<dot]), String(path[dot...]))
    }

    private func backupName(_ now: UInt64) -> String {
        let (stem, suffix) = split
        return "\(stem)-\(LogTime.fileName(now, local: rotation.localTime))\(suffix)"
    }

    /// Backups are named by time, so their order by name is their order by age.
    private func removeOld(_ now: UInt64) {
        guard rotation.maxBackups > 0 || rotation.maxAgeDays > 0 else { return }
        let (stem, suffix) = split
        let slash = stem.lastIndex(of: "/")
        let folder = slash.map { String(stem[..<$0]) } ?? "."
        let prefix = (slash.map { String(stem[stem.index(after: $0)...]) } ?? stem) + "-"
        let names = LogFolder.names(in: folder).filter {
            $0.hasPrefix(prefix) && ($0.hasSuffix(suffix) || $0.hasSuffix(suffix + ".gz"))
        }.sorted()
        var keep = names[...]
        if rotation.maxBackups > 0 { keep = names.suffix(rotation.maxBackups) }
        if rotation.maxAgeDays > 0 {
            let oldest = now - min(now, UInt64(rotation.maxAgeDays) * 86_400_000_000_000)
            let limit = prefix + LogTime.fileName(oldest, local: rotation.localTime)
            keep = keep.drop { $0 < limit }
        }
        for name in names.dropLast(keep.count) { unsafe unlink(folder + "/" + name) }
    }

    /// gzip does its work beside us; it replaces the file by `file.gz`.
    private func startCompressor(_ file: String) -> pid_t? {
        var process: pid_t = 0
        let words = ["gzip", "-f", "--", file]
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
        unsafe arguments.append(nil)
        defer { unsafe arguments.forEach { unsafe free($0) } }
        let result = unsafe posix_spawnp(&process, "gzip", nil, nil, arguments, environ)
        return result == 0 ? process : nil
    }

    private func reap(_ state: inout State) {
        state.compressors.removeAll { process in
            var status: Int32 = 0
            return unsafe waitpid(process, &status, WNOHANG) != 0
        }
    }
}

enum LogFolder {
    static func names(in folder: String) -> [String] {
        guard let stream = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            unsafe names.append(
                withUnsafePointer(to: &entry.pointee.d_name) { field in
                    unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                })
        }
        return names
    }
}
