// A port for clients that is open to a few only, while a cluster is being made: what others wrote would be gone if it were given
// up. Whoever makes it names them in a file, a common name on each line, and takes the file away when the cluster is there;
// nothing has to be restarted for that. This host itself always gets in.
//
// The file is read for each connection as long as it is there; once it is gone nobody looks for it again.

import Glibc
import PKI

final class ClientAdmission {
    private let path: String
    private(set) var isOpen: Bool

    /// Empty: open to all.
    init(_ path: String) {
        self.path = path
        isOpen = path.isEmpty
    }

    /// `name`: of the certificate that was shown and verified; nil where none was, or none is asked for.
    func admits(_ name: String?, from remote: String) -> Bool {
        if isOpen || remote == "::1" || remote.hasPrefix("127.") || remote.hasPrefix("::ffff:127.") { return true }
        do throws(PKIError) {
            let lines = String(decoding: try KeyFile.read(path).bytes, as: UTF8.self).split(separator: "\n")
            return lines.contains { $0 == name ?? "" }
        } catch {
            // A file that is there and cannot be read names nobody.
            guard case .file(let failure) = error, failure.code == ENOENT else { return false }
            isOpen = true
            return true
        }
    }
}
