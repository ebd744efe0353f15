// The SHA-256 of a file of any size, read in pieces.

import CLinux
import Foundations
import Glibc
import Linux

package enum FileDigest {
    package struct Facts: Sendable, Equatable {
        /// 64 hexadecimal digits.
        package var sha256: String
        package var size: UInt64
    }

    package static func of(_ path: String) throws(PKIError) -> Facts {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { throw .file(SystemError("open", path)) }
        defer { close(descriptor) }
        let digest = SHA256Digest()
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var size: UInt64 = 0
        while true {
            let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .file(SystemError("read", path)) }
            if count == 0 { break }
            digest.update(buffer.rawSpan.extracting(0..<count))
            size += UInt64(count)
        }
        return Facts(sha256: Hexadecimal.encode(digest.finish()), size: size)
    }
}
