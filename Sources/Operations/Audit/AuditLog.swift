// Who did what to a cluster from where, and what came of it: on every host, append only, on the disk before the effect.
//
//     /var/lib/covey-agent/main/audit/audit-0000000000000000.log     by the number of the first record
//                                     audit-0000000000009120.log     the last one grows
//
// A crash leaves the old end, or part of a record that nobody relied on: that part is cut off, and a record says so. What
// does not hold for any other reason is left as it is, for those who ask why; a new file begins with a record that names it.

import CLinux
import Foundations
import Glibc
import JSON
import Linux
import PKI

struct AuditLog {
    static let segmentBytesMax = 4 << 20
    /// The oldest goes when there are more; a record says so.
    static let segmentsMax = 32
    /// Evidence longer than this is cut: a record is read by people.
    static let textBytesMax = 4096

    let folder: String
    private let host: String
    private let bytesMax: Int
    private let filesMax: Int
    private(set) var count: UInt64 = 0
    private(set) var head = AuditChain.start
    /// The last record of the journal of steps that is copied here.
    private(set) var journal: Int64 = -1
    /// Why the file before the one in use does not hold; nil when it does.
    private(set) var damage: String?
    private var segment: UInt64 = 0
    private var length = 0

    init(
        _ folder: String, host: String, now: Int64, bytesMax: Int = AuditLog.segmentBytesMax,
        filesMax: Int = AuditLog.segmentsMax
    ) throws(PKIError) {
        self.folder = folder
        self.host = host
        self.bytesMax = bytesMax
        self.filesMax = filesMax
        try KeyFile.makeFolder(folder)
        let segments = Self.segments(folder)
        guard let last = segments.last else { return }
        segment = last
        let bytes = try Self.read(folder, last)
        var chain = AuditChain()
        chain.take(segment: last, bytes, isLast: true)
        count = chain.count
        journal = chain.journal
        head = chain.head ?? AuditChain.start
        damage = chain.remarks.first { $0.contains(Self.doesNotHold) }
        if chain.head == nil, let before = segments.dropLast().last {
            // A file that has just begun knows nothing: the one before it does.
            let older = try Self.read(folder, before)
            var olderChain = AuditChain()
            olderChain.take(segment: before, older, isLast: true)
            journal = olderChain.journal
            head = (olderChain.broken == nil ? olderChain.head : nil) ?? Hexadecimal.encode(SHA256Digest.hash(older))
        }
        do throws(SystemError) { try goOn(chain, bytes, now) } catch { throw .file(error) }
    }

    private static let doesNotHold = "does not hold"

    private mutating func goOn(_ chain: AuditChain, _ bytes: [UInt8], _ now: Int64) throws(SystemError) {
        let path = path(segment)
        if let broken = chain.broken {
            let name = AuditChain.name(segment)
            // The hash of all that was found stands for what cannot be followed.
            head = Hexadecimal.encode(SHA256Digest.hash(bytes))
            count = segment + UInt64(bytes.split(separator: 0x0a).count) + 1
            segment = count
            length = 0
            damage = "the file \(name) \(Self.doesNotHold): \(broken)"
            return try append(remark("the file \(name) \(Self.doesNotHold): \(broken); it is kept as it is"), at: now)
        }
        length = chain.whole
        guard chain.torn > 0 else { return }
        let descriptor = unsafe covey_open(path, O_WRONLY, 0)
        guard descriptor >= 0 else { throw SystemError("open", path) }
        defer { close(descriptor) }
        guard ftruncate(descriptor, length) == 0, fsync(descriptor) == 0 else { throw SystemError("truncate", path) }
        try append(remark("\(chain.torn) bytes of a record that was being written when the agent ended were cut off"), at: now)
    }

    static func segments(_ folder: String) -> [UInt64] {
        guard let handle = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(handle) }
        var found: [UInt64] = []
        while let entry = unsafe readdir(handle) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let segment = AuditChain.segment(name) { found.append(segment) }
        }
        return found.sorted()
    }

    static func read(_ folder: String, _ segment: UInt64) throws(PKIError) -> [UInt8] {
        try KeyFile.read("\(folder)/\(AuditChain.name(segment))").bytes
    }

    private func path(_ segment: UInt64) -> String { "\(folder)/\(AuditChain.name(segment))" }

    private func remark(_ text: String) -> [JSONValue.Member] {
        [.init("who", .string("agent:\(host)")), .init("step", .string("audit")), .init("phase", .string("log"))]
            + [.init("result", .string(text))]
    }

    // MARK: Writing

    /// On the disk when it returns; the log is as it was when it throws. `journal`: the record of the journal it copies.
    mutating func append(_ members: [JSONValue.Member], at time: Int64, journal: Int64? = nil) throws(SystemError) {
        if length >= bytesMax { try rotate(time) }
        let copied = journal ?? self.journal
        let json = JSONValue.object(
            [.init("n", .number(count)), .init("time", .number(time)), .init("host", .string(host))] + members.map(Self.plain)
                + [.init("journal", .number(copied)), .init("previous", .string(head))])
        let text = Array(json.text().utf8)
        let hash = Hexadecimal.encode(SHA256Digest.hash(text))
        try write(Array("\(hash) ".utf8) + text + [0x0a])
        head = hash
        count += 1
        self.journal = copied
    }

    private mutating func write(_ line: [UInt8]) throws(SystemError) {
        let path = path(segment)
        let descriptor = unsafe covey_open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        guard descriptor >= 0 else { throw SystemError("open", path) }
        defer { close(descriptor) }
        do throws(SystemError) {
            var done = 0
            while done < line.count {
                let rest = line.count - done
                let written = unsafe line.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress! + done, rest) }
                if written < 0 && errno == EINTR { continue }
                guard written > 0 else { throw SystemError("write", path) }
                done += written
            }
            guard fdatasync(descriptor) == 0 else { throw SystemError("sync", path) }
        } catch {
            // The next record must not follow half of this one. If this fails, too, the end is found torn after a restart.
            ftruncate(descriptor, length)
            throw error
        }
        if length == 0 { Folder.sync(of: path) }
        length += line.count
    }

    private mutating func rotate(_ time: Int64) throws(SystemError) {
        segment = count
        length = 0
        let all = Self.segments(folder)
        guard all.count >= filesMax, all.count > 1 else { return }
        // Said first, done then: if we end in between, it is said again.
        let keptFrom = all[1]
        var text = remark("records \(all[0]) to \(keptFrom - 1) are removed: there are \(filesMax) newer files")
        text.append(.init("until", .number(keptFrom)))
        try append(text, at: time)
        unsafe unlink(path(all[0]))
        Folder.sync(of: path(all[0]))
    }

    /// No secret gets in by way of an error's text, and no text is without bound.
    private static func plain(_ member: JSONValue.Member) -> JSONValue.Member {
        func plain(_ value: JSONValue) -> JSONValue {
            switch value {
            case .string(let text):
                if text.contains("PRIVATE KEY-----") || text.uppercased().contains("AGE-SECRET-KEY-") {
                    return .string("(left out: it looks like a secret)")
                }
                if text.utf8.count <= textBytesMax { return value }
                return .string(String(decoding: text.utf8.prefix(textBytesMax), as: UTF8.self) + "...")
            case .array(let values): return .array(values.map(plain))
            default: return value
            }
        }
        return JSONValue.Member(member.name, plain(member.value))
    }
}
