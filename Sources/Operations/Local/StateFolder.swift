// The folder of a local cluster. Everything `covey up` knows of a cluster is in it; nothing is anywhere else.
//
//     .covey/main/
//       ledger.json               what was made: token, cluster id, members
//       lock                      held while a `covey up` runs
//       pki/                      the two authorities, keys 0600
//       client/                   certificate and key of the operator, `env` to source in a shell
//       members/m1/               data/, tls/, log, identity.json
//       quarantine/               data that was set aside, never deleted

import CLinux
import Foundations
import Glibc
import Inventory
import Linux
import PKI

struct StateFolder: Sendable, Equatable {
    /// Absolute: members are started with these paths.
    var root: String

    init(_ base: String, cluster: String) {
        let absolute = base.hasPrefix("/") ? base : Self.workingFolder() + "/" + base
        root = Self.tidied(absolute) + "/" + cluster
    }

    var ledger: String { root + "/ledger.json" }
    var lock: String { root + "/lock" }
    var pki: String { root + "/pki" }
    var client: String { root + "/client" }
    var environment: String { client + "/env" }
    func member(_ name: String) -> String { "\(root)/members/\(name)" }
    func data(_ name: String) -> String { member(name) + "/data" }
    func tls(_ name: String) -> String { member(name) + "/tls" }
    func log(_ name: String) -> String { member(name) + "/log" }
    func identity(_ name: String) -> String { member(name) + "/identity.json" }

    /// What a member has on disk.
    func hasData(_ name: String) -> Bool { KeyFile.exists(data(name) + "/member") }

    /// Moves a member's data and identity aside; the new place.
    func quarantine(_ name: String, stamp: String) throws(PKIError) -> String {
        let place = "\(root)/quarantine/\(stamp)-\(name)"
        try KeyFile.makeFolder(place)
        for (from, to) in [(data(name), "data"), (identity(name), "identity.json")] where KeyFile.exists(from) {
            guard unsafe rename(from, "\(place)/\(to)") == 0 else { throw .file(SystemError("rename", from)) }
        }
        return place
    }

    private static func workingFolder() -> String {
        guard let path = unsafe getcwd(nil, 0) else { return "" }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    /// Without `.` parts and double slashes, which would show in every message.
    private static func tidied(_ path: String) -> String {
        "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }
}

/// Held by one `covey up` at a time; the kernel lets go of it when the process ends, however that ends.
struct FolderLock: ~Copyable {
    private let descriptor: Int32

    enum Failure: Error { case held(by: String), system(SystemError) }

    init(_ path: String) throws(Failure) {
        descriptor = unsafe covey_open(path, O_RDWR | O_CREAT, 0o600)
        guard descriptor >= 0 else { throw .system(SystemError("open", path)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let holder = Self.holder(descriptor)
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK || !holder.isEmpty { throw .held(by: holder) }
            throw .system(SystemError("lock", path, code: code))
        }
        let text = "\(getpid())\n"
        ftruncate(descriptor, 0)
        _ = unsafe text.utf8.withContiguousStorageIfAvailable { unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    deinit { close(descriptor) }

    /// The process that holds it, as text; empty when nobody does.
    static func holder(of path: String) -> String {
        let descriptor = unsafe covey_open(path, O_RDWR, 0)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return "" }
        return holder(descriptor)
    }

    private static func holder(_ descriptor: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = unsafe pread(descriptor, &buffer, buffer.count, 0)
        return String(decoding: buffer.prefix(max(count, 0)).filter { $0 != 0x0a }, as: UTF8.self)
    }
}
