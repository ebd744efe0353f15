// The least a durable put can take: one write of about its size and one fdatasync.

import Glibc

final class BareDisk {
    enum Kind: CaseIterable {
        /// A file that grows, as anybody's first program for it would have it: its new length is written too.
        case growing
        /// A file that has its blocks already: nothing is written but the data.
        case filled
    }

    private let descriptor: Int32
    private let kind: Kind
    private var position = 0
    private static let bytes = 16 << 20

    /// The file is made once: who writes megabytes and then measures would measure the disk catching up.
    init(_ path: String, _ kind: Kind) {
        self.kind = kind
        descriptor = unsafe open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { fail("\(path): errno \(errno)") }
        guard kind == .filled else { return }
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        for start in stride(from: 0, to: BareDisk.bytes, by: zeros.count) {
            guard unsafe pwrite(descriptor, zeros, zeros.count, start) == zeros.count else { fail("\(path): errno \(errno)") }
        }
        fsync(descriptor)
        sleep(1)
    }

    deinit { close(descriptor) }

    func measure(seconds: Double, into latencies: inout Latencies) {
        let data = [UInt8](repeating: 0x61, count: 320)
        let end = monotonic() + UInt64(seconds * 1e9)
        var now = monotonic()
        while now < end {
            guard unsafe pwrite(descriptor, data, data.count, position) == data.count, fdatasync(descriptor) == 0 else {
                fail("the disk does not write: errno \(errno)")
            }
            position += data.count
            if kind == .filled { position %= BareDisk.bytes - data.count }
            let after = monotonic()
            latencies.add(after - now)
            now = after
        }
    }
}
