// What an agent did and meant to do, one record a line, synced before the step is begun and after it is done. Each line
// begins with the CRC-32C of the rest and holds the checksum of the line before it, so that a line that was changed or
// lost in the middle shows; a torn last line is what a crash leaves, and is cut off.
//
//     8f1c02aa {"n":12,"time":...,"op":"...","epoch":3,"step":"render","phase":"intent","previous":"51bb90fe"}

import CLinux
import Foundations
import Glibc
import JSON
import Linux
import PKI

struct StepJournal {
    struct Record: Sendable, Equatable {
        enum Phase: String, Sendable { case intent, done, failed }

        var operation: String
        var epoch: UInt64
        var step: String
        var phase: Phase
        var evidence = ""
    }

    let path: String
    private(set) var count: Int64 = 0
    private var last = "00000000"
    /// What is wrong with what was there; nil when all is well.
    private(set) var damage: String?
    /// Steps that were begun and neither done nor given up: what a crash left.
    private(set) var open: [String] = []

    init(_ path: String) throws(PKIError) {
        self.path = path
        guard KeyFile.exists(path) else { return }
        let bytes = try KeyFile.read(path).bytes
        var whole = 0
        for (number, line) in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            let isTorn = whole + line.count >= bytes.count
            if isTorn { break }
            guard let (checksum, json) = Self.check(line) else {
                damage = "\(path) line \(number + 1) does not fit its checksum"
                break
            }
            if json["previous"]?.string != last {
                damage = damage ?? "\(path): line \(number + 1) does not follow the one before it"
            }
            note(json["step"]?.string ?? "", json["phase"]?.string ?? "")
            last = checksum
            count += 1
            whole += line.count + 1
        }
        if damage == nil && whole < bytes.count { unsafe truncate(path, whole) }
    }

    private mutating func note(_ step: String, _ phase: String) {
        if phase == Record.Phase.intent.rawValue { open.append(step) } else { open.removeAll { $0 == step } }
    }

    private static func check(_ line: ArraySlice<UInt8>) -> (String, JSONValue)? {
        guard line.count > 9 else { return nil }
        let checksum = String(decoding: line.prefix(8), as: UTF8.self)
        let rest = Array(line.dropFirst(9))
        guard checksum == hexadecimal(CRC32C.of(rest)), let json = try? JSONValue(parsing: rest) else { return nil }
        return (checksum, json)
    }

    private static func hexadecimal(_ value: UInt32) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: 8 - text.count) + text
    }

    /// On the disk when it returns.
    mutating func append(_ record: Record, at time: Int64) throws(SystemError) {
        let json = JSONValue.object([
            .init("n", .number(count)), .init("time", .number(time)), .init("op", .string(record.operation)),
            .init("epoch", .number(record.epoch)), .init("step", .string(record.step)),
            .init("phase", .string(record.phase.rawValue)), .init("evidence", .string(record.evidence)),
            .init("previous", .string(last)),
        ])
        let text = Array(json.text().utf8)
        let checksum = Self.hexadecimal(CRC32C.of(text))
        let line = Array("\(checksum) ".utf8) + text + [0x0a]
        let descriptor = unsafe covey_open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        guard descriptor >= 0 else { throw SystemError("open", path) }
        defer { close(descriptor) }
        let written = unsafe line.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
        guard written == line.count, fdatasync(descriptor) == 0 else { throw SystemError("write", path) }
        if count == 0 { Folder.sync(of: path) }
        last = checksum
        count += 1
        note(record.step, record.phase.rawValue)
    }

    /// Whole records with numbers above `after`, for the audit log; up to the first that is damaged.
    static func records(_ path: String, after: Int64) -> [(number: Int64, json: JSONValue)] {
        guard let bytes = try? KeyFile.read(path).bytes else { return [] }  // as below
        var found: [(number: Int64, json: JSONValue)] = []
        for (number, line) in bytes.split(separator: 0x0a).enumerated() {
            guard let (_, json) = check(line) else { break }
            if number > after { found.append((Int64(number), json)) }
        }
        return found
    }

    /// The last lines, oldest first, without their checksums.
    static func tail(_ path: String, _ limit: Int) -> [String] {
        guard let bytes = try? KeyFile.read(path).bytes else { return [] }  // no journal: nothing was done
        return bytes.split(separator: 0x0a).suffix(limit).map { String(decoding: $0.dropFirst(9), as: UTF8.self) }
    }
}
