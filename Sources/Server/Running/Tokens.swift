// JSON Web Tokens as the auth store's signer: `--auth-token jwt,pub-key=...,priv-key=...,sign-method=RS512,ttl=10m`.

import Flags
import Foundations
import JSON
import PKI
import State

struct JWTTokens: TokenSigner {
    private let signer: JWTSigner?
    private let verifier: JWTVerifier
    private let seconds: Int64

    struct Failure: Error, CustomStringConvertible { var description: String }

    var canSign: Bool { signer != nil }

    init(_ options: [String: String]) throws(Failure) {
        guard let method = options["sign-method"], let algorithm = TokenAlgorithm(rawValue: method) else {
            throw Failure(description: "auth: unknown signing method \"\(options["sign-method"] ?? "")\"")
        }
        do {
            let ttl = options["ttl"] ?? "5m"
            seconds = max(1, try GoDuration.parse(ttl) / GoDuration.second)
            let publicFile = options["pub-key"] ?? "", privateFile = options["priv-key"] ?? ""
            if algorithm.isSymmetric {
                guard !privateFile.isEmpty else { throw Failure(description: "auth: missing secret key file (priv-key)") }
                let secret = TokenKey.secret(try KeyFile.read(privateFile).bytes)
                signer = try JWTSigner(algorithm, secret)
                verifier = try JWTVerifier(algorithm, secret)
                return
            }
            let pair = privateFile.isEmpty ? nil : try PrivateKey.load(privateFile)
            signer = try pair.map { try JWTSigner(algorithm, .pair($0)) }
            if publicFile.isEmpty {
                guard let pair else { throw Failure(description: "auth: missing public key file (pub-key)") }
                verifier = try JWTVerifier(algorithm, .pair(pair))
            } else {
                let key = try PrivateKey.publicKey(pem: try KeyFile.read(publicFile).bytes, source: publicFile)
                verifier = try JWTVerifier(algorithm, .pair(key))
            }
        } catch let error as Failure { throw error } catch { throw Failure(description: "auth: \(error)") }
    }

    func sign(user: Bytes, authRevision: UInt64, unixTime: Int64) -> Bytes? {
        guard let signer else { return nil }
        var writer = JSONWriter()
        writer.beginObject()
        writer.name("exp")
        writer.number(unixTime + seconds)
        writer.name("revision")
        writer.number(authRevision)
        writer.name("username")
        writer.string(String(decoding: user, as: UTF8.self))
        writer.endObject()
        return try? signer.sign(payload: writer.bytes)
    }

    func verify(_ token: Bytes, unixTime: Int64) -> Identity? {
        guard let payload = verifier.verify(token), let object = try? JSONValue(parsing: payload),
            let user = object["username"]?.string, let revision = object["revision"].flatMap({ UInt64($0.text()) }),
            let expiry = object["exp"].flatMap({ Int64($0.text().prefix { $0 != "." }) }), unixTime < expiry
        else { return nil }
        return Identity(user: Bytes(user.utf8), authRevision: revision)
    }
}
