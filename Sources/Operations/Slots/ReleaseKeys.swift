// Whose signature makes a program one that may run: keys the inventory names, and those an administrator has put on the host.
//
//     spec.server.artifact.keys: {release-2026: "ed25519:Qm3..."}
//     /etc/covey/release-keys.d/release-2026.pub     the same line, or a public key in PEM form

import Foundations
import Inventory
import PKI

struct ReleaseKeys: Sendable {
    private(set) var keys: [(name: String, key: PrivateKey)] = []
    /// Files that are no keys: a key that is not understood must not go unnoticed.
    private(set) var problems: [String] = []

    /// `folder`: of the host; empty where there is none.
    init(_ artifact: Inventory.Artifact?, folder: String) {
        for (name, text) in (artifact?.keys ?? [:]).sorted(by: { $0.key < $1.key }) {
            if let key = PublicKeyText.key(text) { keys.append((name, key)) }
        }
        guard !folder.isEmpty else { return }
        for file in HostKeeper.names(in: folder) where file.hasSuffix(".pub") || file.hasSuffix(".pem") {
            do throws(PKIError) {
                let key = try Self.load("\(folder)/\(file)")
                keys.append((String(file.dropLast(4)), key))
            } catch { problems.append("\(error)") }
        }
    }

    static func load(_ path: String) throws(PKIError) -> PrivateKey {
        let bytes = try KeyFile.read(path).bytes
        let line = String(decoding: bytes, as: UTF8.self).prefix { !$0.isWhitespace }
        if let key = PublicKeyText.key(String(line)) { return key }
        let key = try PrivateKey.publicKey(pem: bytes, source: path)
        guard key.isEd25519 else { throw .unsupportedKey(algorithm: "Ed25519 in \(path)") }
        return key
    }

    /// Who signed; nil when none of them did.
    func signer(of manifest: [UInt8], _ signature: [UInt8]) -> String? {
        keys.first { DetachedSignature.holds($0.key, manifest, signature) }?.name
    }

    struct Refusal: Error, Equatable { var text: String }

    /// The name of who signed; empty for what nobody signed where the inventory allows that.
    func admit(_ manifest: [UInt8], _ signature: [UInt8], _ artifact: Inventory.Artifact) throws(Refusal) -> String {
        if signature.isEmpty {
            guard artifact.allowsUnsigned else {
                throw Refusal(
                    text: "nobody has signed it: covey artifact sign PROGRAM --key KEY; or spec.server.artifact.allowUnsigned: true")
            }
            return ""
        }
        // One that is there must be right, whatever is allowed without.
        guard let signer = signer(of: manifest, signature) else {
            let names = keys.map(\.name)
            throw Refusal(
                text: "its signature is of none of the trusted keys (\(names.isEmpty ? "there are none" : names.joined(separator: ", ")))"
                    + (problems.isEmpty ? "" : "; \(problems.joined(separator: "; "))"))
        }
        if let wanted = artifact.signer, wanted != signer {
            throw Refusal(text: "\(signer) has signed it, and spec.server.artifact.signer wants \(wanted)")
        }
        return signer
    }
}

/// `PROGRAM.manifest.sig`: the signature in base64, on one line.
enum SignatureFile {
    static func text(_ signature: [UInt8]) -> String { Base64.encode(signature) + "\n" }

    static func parse(_ bytes: [UInt8]) -> [UInt8]? {
        let line = bytes.prefix { $0 != 0x0a }
        guard bytes.count <= line.count + 1, let signature = Base64.decode(line), signature.count == DetachedSignature.size
        else { return nil }
        return signature
    }
}
