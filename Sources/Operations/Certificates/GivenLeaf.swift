// Certificates somebody else makes, with an authority whose key nobody here has: spec.tls.*CA.mode is `leaves`. They lie in a
// folder of each host, which others write and the agent only reads:
//
//     client-ca.crt  server.crt server.key  client.crt client.key      of clientCA
//     peer-ca.crt    peer.crt peer.key                                 of peerCA
//
// What is there is checked as what a holder issues is, copied into a folder of the member's, and looked at again from time to
// time: what was replaced is taken as a renewal is, with a proof on the wire or the way back.

import Inventory
import PKI

struct GivenLeaf {
    struct Refusal: Error, Equatable, CustomStringConvertible { var description: String }

    let certificate: [UInt8]
    let key: [UInt8]
    let bundle: [UInt8]

    /// Nil for what is issued by an authority of the cluster, or one whose key the operator has.
    static func folder(_ kind: LeafKind, _ inventory: Inventory) -> String? { kind.authority.settings(inventory).leaves }

    /// `root`: of the agent, in front of the inventory's path.
    init(_ kind: LeafKind, _ host: Inventory.Host, _ inventory: Inventory, root: String, now: Int64) throws(Refusal) {
        let folder = root + (Self.folder(kind, inventory) ?? "")
        let path = "\(folder)/\(kind.rawValue)"
        let setting = "spec.tls.\(kind.authority.rawValue)CA"
        let trusted: [Certificate]
        let chain: [Certificate]
        let own: PrivateKey
        do throws(PKIError) {
            (bundle, certificate) = (try KeyFile.read("\(folder)/\(kind.authority.bundle)").bytes, try KeyFile.read(path + ".crt").bytes)
            trusted = try Certificate.chain(pem: bundle, source: "\(folder)/\(kind.authority.bundle)")
            chain = try Certificate.chain(pem: certificate, source: path + ".crt")
            own = try PrivateKey.load(path + ".key", mustBePrivate: true)
            key = try KeyFile.read(path + ".key").bytes
        } catch {
            var text = "\(error)"
            if case .file = error { text += "; \(setting) has mode leaves: somebody else puts it there" }
            throw Refusal(description: text)
        }
        guard let problem = kind.problem(chain, own, trusted: trusted, host, inventory, now: now) else { return }
        let names = kind.names(host, inventory)
        throw Refusal(
            description: "\(path).crt \(problem); have it made for \(names.isEmpty ? "a client" : names.joined(separator: ", ")) ("
                + kind.usages.map(\.rawValue).joined(separator: ", ") + "), by an authority of \(folder)/\(kind.authority.bundle)")
    }

    /// Than those that are in use.
    func isOther(_ kind: LeafKind, than folder: String) -> Bool {
        // What cannot be read is another.
        (try? KeyFile.read("\(folder)/\(kind.rawValue).crt").bytes) != certificate
            || (try? KeyFile.read("\(folder)/\(kind.authority.bundle)").bytes) != bundle
    }

    func write(_ kind: LeafKind, to folder: String) throws(PKIError) {
        try KeyFile.write(bundle, to: "\(folder)/\(kind.authority.bundle)", mode: 0o644)
        try KeyFile.write(key, to: "\(folder)/\(kind.rawValue).key", mode: 0o600)
        try KeyFile.write(certificate, to: "\(folder)/\(kind.rawValue).crt", mode: 0o644)
    }

    /// What to do about one that ends.
    static func remedy(_ kind: String, _ folder: String, _ host: String) -> String {
        "have a new one made, and put it at \(folder)/\(kind).crt and .key on \(host); the agent takes it by itself"
    }
}

/// The operator's part of the same: what is shown to members lies in the folder of that name on the operator's machine.
struct GivenClient {
    let bundle: [UInt8]

    /// Copies it to where commands find it.
    init?(_ inventory: Inventory, to place: String, now: Int64) throws(PKIError) {
        guard let folder = inventory.clientCA.leaves else { return nil }
        let path = folder + "/client"
        bundle = try KeyFile.read("\(folder)/\(AuthorityRole.client.bundle)").bytes
        let trusted = try Certificate.chain(pem: bundle, source: "\(folder)/\(AuthorityRole.client.bundle)")
        let chain = try Certificate.load(path + ".crt")
        let key = try PrivateKey.load(path + ".key", mustBePrivate: true)
        guard chain[0].belongs(to: key) else { throw .mismatch(certificate: path + ".crt", key: path + ".key") }
        if let problem = CertificateChain.problem(chain, trusted: trusted, usages: [.client], at: now) {
            throw .library(what: path + ".crt", reason: "\(problem); spec.tls.clientCA has mode leaves: have another made for the operator")
        }
        try KeyFile.makeFolder(place)
        try KeyFile.write(bundle, to: place + "/ca.crt", mode: 0o644)
        try KeyFile.write(try KeyFile.read(path + ".key").bytes, to: place + "/client.key", mode: 0o600)
        try KeyFile.write(try KeyFile.read(path + ".crt").bytes, to: place + "/client.crt", mode: 0o644)
    }
}
