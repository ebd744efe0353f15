// The ledger and the members' identities on disk. Written as a whole; a crash leaves the old or the new one.

import CLinux
import Foundations
import Glibc
import Inventory
import JSON
import PKI

extension Ledger {
    /// Nil when the file is no ledger.
    static func load(_ path: String) throws(UpCommand.Refused) -> Ledger? {
        let bytes: [UInt8]
        do throws(PKIError) { bytes = try KeyFile.read(path).bytes } catch {
            throw UpCommand.Refused(code: 1, text: "\(error)")
        }
        // Whatever is wrong inside, it is no ledger.
        guard let json = try? JSONValue(parsing: bytes) else { return nil }
        return Ledger(json)
    }

    func save(_ path: String) throws(PKIError) {
        try KeyFile.write(Array(PrettyJSON.text(json).utf8), to: path, mode: 0o600)
        Folder.sync(of: path)
    }

    /// It has been proven to be a cluster.
    mutating func activate(_ facts: BootstrapProof.Proven, at time: Int64) {
        if state == .pending { bootstrapped = time }
        state = .active
        clusterID = facts.clusterID
        for index in members.indices { members[index].id = facts.memberIDs[members[index].name] ?? "" }
    }
}

/// Which server made the data in a folder; a server of the other kind must not be started on it.
enum DataFolder {
    static func engine(_ data: String) -> String {
        if KeyFile.exists(data + "/member/covey.json") { return "covey" }
        return KeyFile.exists(data + "/member/snap/db") ? "etcd" : ""
    }
}

extension Inventory.Engine {
    var name: String { program == nil ? "covey" : "etcd" }
}

/// Whose data this is, beside the data.
enum Identity {
    static func write(_ path: String, _ cluster: String, _ member: String, token: String) throws(PKIError) {
        let json = JSONValue.object([
            .init("cluster", .string(cluster)), .init("member", .string(member)), .init("token", .string(token)),
        ])
        try KeyFile.write(Array(PrettyJSON.text(json).utf8), to: path, mode: 0o600)
        Folder.sync(of: path)
    }

    static func token(_ path: String) -> String? {
        // No file, or nonsense in it: nobody knows whose data it is.
        guard let bytes = try? KeyFile.read(path).bytes, let json = try? JSONValue(parsing: bytes) else { return nil }
        return json["token"]?.string
    }
}

enum Folder {
    /// Makes a rename in the folder of `path` durable.
    static func sync(of path: String) {
        guard let slash = path.lastIndex(of: "/") else { return }
        let descriptor = unsafe covey_open(String(path[..<slash]), O_RDONLY, 0)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }
}
