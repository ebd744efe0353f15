// A call to the kernel that failed: which, on what, and the kernel's reason.

import CLinux
import Glibc

package struct SystemError: Error, Equatable, CustomStringConvertible, Sendable {
    package var call: String
    /// What the call worked on: a path, an address. May be empty.
    package var subject: String
    package var code: Int32

    package init(_ call: String, _ subject: String = "", code: Int32 = errno) {
        self.call = call
        self.subject = subject
        self.code = code
    }

    package var reason: String { unsafe String(cString: strerror(code)) }

    package var description: String {
        subject.isEmpty ? "\(call): \(reason)" : "\(call) \(subject): \(reason)"
    }
}
