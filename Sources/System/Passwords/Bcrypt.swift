// bcrypt through the system's crypt library: `$2a$` hashes as etcd stores them, 22 letters of salt and 31 of digest.
// One hash takes about 60 ms at cost 10. Nothing is shared between calls, so any thread may call.

import CCrypt
import Foundations
import Glibc
import State

package struct Bcrypt: PasswordHasher {
    package static let costDefault = 10
    package static let costs = 4...31

    package let cost: Int

    /// A cost outside `costs` becomes the default, as the flag's description says.
    package init(cost: Int = costDefault) {
        self.cost = Bcrypt.costs.contains(cost) ? cost : Bcrypt.costDefault
    }

    package func hash(_ password: Bytes) -> Bytes? {
        guard !password.contains(0) else { return nil }
        var setting = [CChar](repeating: 0, count: Int(CRYPT_GENSALT_OUTPUT_SIZE))
        // Without bytes given, the library takes the salt from the kernel's random source.
        let made = unsafe setting.withUnsafeMutableBufferPointer { buffer in
            unsafe crypt_gensalt_rn("$2a$", UInt(cost), nil, 0, buffer.baseAddress, Int32(buffer.count)) != nil
        }
        guard made else { return nil }
        return Bcrypt.crypt(password, setting: setting)
    }

    package func matches(_ password: Bytes, hash: Bytes) -> Bool {
        // Another scheme's hash, or none at all, fits no password; crypt would take "" or "x" for an old DES setting.
        guard !password.contains(0), !hash.contains(0), hash.count == 60, hash.starts(with: Bytes("$2".utf8)) else {
            return false
        }
        guard let computed = Bcrypt.crypt(password, setting: hash.map { CChar(bitPattern: $0) } + [0]) else { return false }
        return Bcrypt.constantTimeEqual(computed, hash)
    }

    static func crypt(_ password: Bytes, setting: [CChar]) -> Bytes? {
        let phrase = password.map { CChar(bitPattern: $0) } + [0]
        // Zeroed as the library demands, and wiped afterwards: it holds the password.
        let size = MemoryLayout<crypt_data>.size
        let scratch = UnsafeMutableRawPointer.allocate(
            byteCount: size, alignment: MemoryLayout<crypt_data>.alignment)
        unsafe memset(scratch, 0, size)
        defer {
            unsafe explicit_bzero(scratch, size)
            unsafe scratch.deallocate()
        }
        guard let result = unsafe crypt_rn(phrase, setting, scratch, Int32(size)) else { return nil }
        let text = unsafe Bytes(UnsafeRawBufferPointer(start: result, count: strlen(result)))
        return text
    }

    /// Looks at every byte wherever they differ.
    static func constantTimeEqual(_ a: Bytes, _ b: Bytes) -> Bool {
        guard a.count == b.count else { return false }
        var difference: UInt8 = 0
        for i in a.indices { difference |= a[i] ^ b[i] }
        return difference == 0
    }
}
