// One-time tokens with which a host may ask for its agent's identity: `ID.SECRET`, for one host, for a short time, once. What
// is kept is a hash; a token that was used leaves a file that says so.
//
//     .covey/main/tokens/ID.json    waiting
//     .covey/main/tokens/ID.used    gone

import Foundations
import Glibc
import JSON
import Linux
import PKI

struct EnrolmentTokens: Sendable {
    let folder: String

    enum Refusal: Error, Sendable, Equatable, CustomStringConvertible {
        /// Never made, or not with this secret: which of the two is nobody's business.
        case notValid
        case used
        case expired(secondsAgo: Int64)
        case otherHost(asked: String, meant: String)
        case records(String)

        var description: String {
            let again = "make another on the operator's machine: covey enroll --token HOST"
            return switch self {
            case .notValid: "the token is not valid: compare it with the line that was printed, or \(again)"
            case .used: "the token has been used; each is good for one host, once: \(again)"
            case .expired(let seconds): "the token expired \(CertificateNews.span(seconds)) ago: \(again)"
            case .otherHost(let asked, let meant): "the token is for \(meant), not for \(asked)"
            case .records(let reason): "tokens cannot be looked up: \(reason)"
            }
        }
    }

    init(_ folder: StateFolder) { self.folder = folder.root + "/tokens" }

    /// The only time the secret is seen.
    func make(for host: String, lifetimeSeconds: Int64, now: Int64) throws(PKIError) -> String {
        let (id, secret) = (Hexadecimal.encode(SecureRandom.bytes(4)), Hexadecimal.encode(SecureRandom.bytes(16)))
        let json = JSONValue.object([
            .init("host", .string(host)), .init("expires", .number(now + lifetimeSeconds)), .init("hash", .string(Self.hash(secret))),
        ])
        try KeyFile.makeFolder(folder)
        try KeyFile.write(Array(json.text().utf8), to: "\(folder)/\(id).json", mode: 0o600)
        return "\(id).\(secret)"
    }

    /// Uses the token up. Nothing is used up by a wrong one.
    func redeem(_ token: String, for host: String, now: Int64) throws(Refusal) {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, Self.isHexadecimal(parts[0], 8), Self.isHexadecimal(parts[1], 32) else { throw .notValid }
        let path = "\(folder)/\(parts[0])"
        let isUsed = !KeyFile.exists(path + ".json") && KeyFile.exists(path + ".used")
        // One that is not there and one that cannot be read are the same to who asks.
        guard let bytes = try? KeyFile.read(path + (isUsed ? ".used" : ".json")).bytes,
            let json = try? JSONValue(parsing: bytes), let hash = json["hash"]?.string, let meant = json["host"]?.string,
            let expires = json["expires"]?.int64, ConstantTime.equal(Array(hash.utf8), Array(Self.hash(parts[1]).utf8))
        else { throw .notValid }
        if isUsed { throw .used }
        guard now < expires else { throw .expired(secondsAgo: now - expires) }
        guard host == meant else { throw .otherHost(asked: host, meant: meant) }
        // Of two that come at the same moment one wins.
        guard unsafe rename(path + ".json", path + ".used") == 0 else {
            if errno == ENOENT { throw .used }
            throw .records("\(SystemError("rename", path))")
        }
        Folder.sync(of: path)
    }

    /// Tokens nobody can use any more.
    func removeOld(now: Int64) {
        for name in HostKeeper.names(in: folder) {
            // One that cannot be read is of no use either.
            let json = (try? KeyFile.read("\(folder)/\(name)").bytes).flatMap { try? JSONValue(parsing: $0) }
            if now - (json?["expires"]?.int64 ?? 0) > 86_400 { unsafe unlink("\(folder)/\(name)") }
        }
    }

    private static func hash(_ secret: String) -> String { Hexadecimal.encode(SHA256Digest.hash(Array(secret.utf8))) }

    private static func isHexadecimal(_ text: String, _ count: Int) -> Bool {
        text.utf8.count == count && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}

/// How a person compares an authority: `sha256:` and the hash of the certificate.
enum AuthorityPin {
    static func of(_ authority: Certificate) -> String { "sha256:" + Hexadecimal.encode(authority.fingerprint) }

    static func matches(_ pin: String, _ authority: Certificate) -> Bool {
        let typed = pin.hasPrefix("sha256:") ? pin : "sha256:" + pin
        return ConstantTime.equal(Array(typed.lowercased().utf8), Array(of(authority).utf8))
    }
}
