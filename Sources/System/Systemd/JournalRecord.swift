// Records of the journal that programs look for: a stable MESSAGE_ID, and fields to filter by.

import CSystemd
import Glibc

package enum JournalRecord {
    /// Sends a record; without a journal nothing happens. Field names are in capitals, as the journal wants them.
    package static func send(_ message: String, id: String, priority: Int, fields: [(name: String, value: String)]) {
        let all =
            [
                ("MESSAGE", message), ("MESSAGE_ID", id), ("PRIORITY", String(priority)),
                ("SYSLOG_IDENTIFIER", "covey-agent"),
            ]
            + fields.map { ($0.name, $0.value) }
        var buffers = unsafe [iovec]()
        for (name, value) in all where !value.isEmpty {
            let bytes = Array("\(name)=\(value)".utf8)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
            unsafe memory.copyBytes(from: bytes)
            unsafe buffers.append(iovec(iov_base: memory.baseAddress, iov_len: bytes.count))
        }
        defer { unsafe buffers.forEach { unsafe $0.iov_base.deallocate() } }
        _ = unsafe sd_journal_sendv(buffers, Int32(buffers.count))
    }
}
