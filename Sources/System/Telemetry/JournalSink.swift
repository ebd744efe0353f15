// Lines for systemd's journal, over its own datagram protocol, so that a level is a priority and every field of a record
// can be queried: journalctl COVEY_MEMBER_ID=8e9e05c52164694d.

import Foundations
import Glibc
import Linux

package final class JournalSink: LogSink {
    package static let defaultSocket = "/run/systemd/journal/socket"
    /// Above this the kernel refuses datagrams on common settings; what is longer is cut and says so.
    package static let messageBytesMax = 128 * 1024

    /// What MESSAGE holds: etcd's JSON line, or the text for people.
    package enum Message: Sendable { case json, plain }

    private let socket: Int32
    private let address: String
    private let identifier: String
    private let message: Message

    /// Fails when nobody listens at the socket.
    package init(
        identifier: String, message: Message, path: String = JournalSink.defaultSocket
    ) throws(SystemError) {
        guard let target = SocketAddress.unix(path) else { throw SystemError("connect", path, code: ENAMETOOLONG) }
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket", path) }
        let result = unsafe target.withKernelForm { pointer, length in
            unsafe Glibc.connect(descriptor, pointer.assumingMemoryBound(to: sockaddr.self), length)
        }
        if result != 0 {
            let error = SystemError("connect", path)
            close(descriptor)
            throw error
        }
        socket = descriptor
        address = path
        self.identifier = identifier
        self.message = message
    }

    deinit { close(socket) }

    package func write(_ record: LogRecord) {
        var bytes = datagram(record, limit: JournalSink.messageBytesMax)
        if send(bytes) { return }
        // Smaller than the kernel's limit on any machine.
        bytes = datagram(record, limit: 8 * 1024, fields: false)
        if !send(bytes) { DescriptorSink(STDERR_FILENO, .json).write(record) }
    }

    private func send(_ bytes: Bytes) -> Bool {
        unsafe bytes.withUnsafeBytes { buffer in
            while true {
                let count = unsafe Glibc.send(socket, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
                if count < 0 && errno == EINTR { continue }
                return count == buffer.count
            }
        }
    }

    /// `NAME=value` lines; a value with a newline is preceded by its length instead.
    func datagram(_ record: LogRecord, limit: Int, fields: Bool = true) -> Bytes {
        var text =
            switch message {
            case .json: String(decoding: LogFormat.json.line(record).dropLast(), as: UTF8.self)
            case .plain: LogFormat.plain(record)
            }
        if text.utf8.count > limit {
            text = String(decoding: text.utf8.prefix(limit), as: UTF8.self) + "... (\(text.utf8.count) bytes, cut)"
        }
        var out: Bytes = []
        append("MESSAGE", text, to: &out)
        if let id = JournalMessage.id(of: record.message) { append("MESSAGE_ID", id, to: &out) }
        append("PRIORITY", String(record.level.priority), to: &out)
        append("SYSLOG_IDENTIFIER", identifier, to: &out)
        append("CODE_FILE", record.file, to: &out)
        append("CODE_LINE", String(record.line), to: &out)
        append("PACKAGE", record.logger.isEmpty ? identifier : record.logger, to: &out)
        if fields {
            for field in record.fields { append("COVEY_" + fieldName(field.name), field.value.plain, to: &out) }
        }
        return out
    }

    /// The journal takes A-Z, 0-9 and underscore, at most 64.
    private func fieldName(_ name: String) -> String {
        let safe = name.uppercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" }
        return String(safe.prefix(58))
    }

    private func append(_ name: String, _ value: String, to out: inout Bytes) {
        out += name.utf8
        if value.utf8.contains(0x0a) {
            out.append(0x0a)
            let count = UInt64(value.utf8.count)
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                out.append(UInt8(truncatingIfNeeded: count >> shift))
            }
        } else {
            out.append(0x3d)
        }
        out += value.utf8
        out.append(0x0a)
    }
}
