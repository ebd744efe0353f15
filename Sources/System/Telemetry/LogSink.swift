// Where lines go: a descriptor, or a file that is opened for appending. The journal is in JournalSink.swift, rotation in
// RotatingFile.swift. A sink is used under the log's lock, and never throws: there is nobody left to tell.

import Foundations
import Glibc
import Linux
import Synchronization

package protocol LogSink: Sendable {
    func write(_ record: LogRecord)
    func reopen()
}

extension LogSink {
    package func reopen() {}
}

/// A descriptor somebody else owns, usually stderr.
package struct DescriptorSink: LogSink {
    private let descriptor: Int32
    private let format: LogFormat

    package init(_ descriptor: Int32, _ format: LogFormat) {
        self.descriptor = descriptor
        self.format = format
    }

    package func write(_ record: LogRecord) { LogFile.writeAll(format.line(record), to: descriptor) }
}

/// A file, appended to; created 0600.
package final class FileSink: LogSink {
    private let path: String
    private let format: LogFormat
    private let descriptor: Atomic<Int32>

    package init(_ path: String, _ format: LogFormat) throws(SystemError) {
        self.path = path
        self.format = format
        descriptor = Atomic(try LogFile.open(path))
    }

    deinit { close(descriptor.load(ordering: .relaxed)) }

    package func write(_ record: LogRecord) {
        LogFile.writeAll(format.line(record), to: descriptor.load(ordering: .relaxed))
    }

    /// Keeps the old file when the path cannot be opened now.
    package func reopen() {
        do {
            let fresh = try LogFile.open(path)
            close(descriptor.exchange(fresh, ordering: .relaxed))
        } catch {
            LogFile.writeAll(Array("cannot reopen the log: \(error)\n".utf8), to: STDERR_FILENO)
        }
    }
}

enum LogFile {
    static func open(_ path: String) throws(SystemError) -> Int32 {
        let descriptor = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open", path) }
        return descriptor
    }

    static func writeAll(_ bytes: Bytes, to descriptor: Int32) {
        unsafe bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = unsafe Glibc.write(descriptor, buffer.baseAddress! + done, buffer.count - done)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { return }
                done += count
            }
        }
    }
}
