// Bytes to and from OpenSSL's memory BIOs: the only place that handles their pointers.

import COpenSSL
import Foundations

enum PEMBytes {
    /// Calls `body` with a reader over the bytes.
    static func reading<R>(_ bytes: [UInt8], _ body: (OpaquePointer) -> R) -> R {
        unsafe bytes.withUnsafeBytes { buffer in
            let bio = unsafe BIO_new_mem_buf(buffer.baseAddress ?? emptyByte, Int32(buffer.count))
            defer { unsafe BIO_free(bio) }
            return unsafe body(bio!)
        }
    }

    /// What `body` wrote; nil when it failed. (`body` answers 1 for success, as OpenSSL does.)
    static func written(_ body: (OpaquePointer) -> Int32) -> [UInt8]? {
        let bio = unsafe BIO_new(BIO_s_mem())
        defer { unsafe BIO_free(bio) }
        guard unsafe body(bio!) > 0 else { return nil }
        var start: UnsafeMutablePointer<CChar>?
        let count = unsafe covey_bio_contents(bio, &start)
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    /// What an i2d function writes: called once for the length, once for the bytes.
    static func der(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) -> [UInt8] {
        let length = body(nil)
        guard length > 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            var at = buffer.baseAddress
            _ = unsafe body(&at)
        }
        return bytes
    }

    // Never read: a valid address for empty input, which OpenSSL would take as "use strlen" or an error.
    private static var emptyByte: UnsafeRawPointer { unsafe UnsafeRawPointer(bitPattern: 16)! }

    /// Whether a text holds a block of this kind at all: OpenSSL's error for "none" differs between its releases.
    static func hasBlock(_ pem: [UInt8], _ kind: String) -> Bool {
        let mark = Array((kind + "-----").utf8)
        guard pem.count >= mark.count else { return false }
        for start in 0...(pem.count - mark.count) where pem[start..<start + mark.count].elementsEqual(mark) { return true }
        return false
    }

    static func lastErrorIsEnd() -> Bool {
        let error = ERR_peek_last_error()
        let library = Int32((error >> 23) & 0xff), reason = Int32(error & 0x7fffff)
        return library == ERR_LIB_PEM && reason == PEM_R_NO_START_LINE
    }
}
