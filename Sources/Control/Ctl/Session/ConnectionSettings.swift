// Global flags become what a client is made from: endpoints, certificates, who we are.

import CoveyClient
import Flags
import Foundations
import Linux

struct ConnectionSettings: Sendable {
    var endpoints: [String]
    var tls: ClientConfiguration.TLS?
    var credentials: ClientConfiguration.Credentials?
    var token: String?
    var dialTimeout: Duration
    var keepaliveInterval: Duration
    var keepaliveTimeout: Duration
    var sendBytesMax: Int
    var receiveBytesMax: Int

    /// Asks for a password when a user is given without one.
    init(_ invocation: Invocation) throws(CtlFailure) {
        let values = invocation.values
        endpoints = values.list("endpoints")
        if !values.text("discovery-srv").isEmpty {
            endpoints = try ServiceRecords.endpoints(
                domain: values.text("discovery-srv"), name: values.text("discovery-srv-name"),
                takesInsecure: values.bool("insecure-discovery"))
        }
        dialTimeout = invocation.duration("dial-timeout")
        // Servers end connections that are probed more often than this.
        keepaliveInterval = max(invocation.duration("keepalive-time"), .seconds(10))
        keepaliveTimeout = invocation.duration("keepalive-timeout")
        let sendMax = values.integer("max-request-bytes")
        sendBytesMax = sendMax > 0 ? Int(sendMax) : 2 << 20
        let receiveMax = values.integer("max-recv-bytes")
        receiveBytesMax = receiveMax > 0 ? Int(receiveMax) : Int(Int32.max)
        tls = try CertificateFlags(values, prefix: "").tls(endpoints: endpoints)
        credentials = try Login.credentials(invocation, userFlag: "user", passwordFlag: "password")
        let jwt = values.text("auth-jwt-token")
        token = jwt.isEmpty ? nil : jwt
    }

    var configuration: ClientConfiguration {
        var configuration = ClientConfiguration(endpoints: endpoints, timeout: nil)
        configuration.tls = tls
        configuration.credentials = credentials
        configuration.token = token
        configuration.connectTimeout = dialTimeout
        configuration.keepaliveInterval = keepaliveInterval
        configuration.keepaliveTimeout = keepaliveTimeout
        configuration.sendBytesMax = sendBytesMax
        configuration.receiveBytesMax = receiveBytesMax
        configuration.checksHealth = false
        return configuration
    }

    func open() throws(CtlFailure) -> Client {
        guard !endpoints.isEmpty else { throw CtlFailure(.badConnection, "etcdclient: no available endpoints") }
        do {
            return try Client(configuration)
        } catch {
            throw .arguments(error.message)
        }
    }
}

/// The certificate flags of one side: `--cert`, or `--dest-cert`.
struct CertificateFlags {
    private let certificate: String
    private let key: String
    private let authority: String
    private let insecureTransport: Bool
    private let skipsVerification: Bool

    init(_ values: OptionValues, prefix: String) throws(CtlFailure) {
        for name in ["cert", "key", "cacert"] where prefix.isEmpty {
            guard !values.isSet(name) || !values.text(name).isEmpty else {
                throw .arguments("empty string is passed to --\(name) option")
            }
        }
        certificate = values.text(prefix + "cert")
        key = values.text(prefix + "key")
        authority = values.text(prefix + "cacert")
        insecureTransport = values.bool(prefix + "insecure-transport")
        skipsVerification = prefix.isEmpty && values.bool("insecure-skip-tls-verify")
    }

    func tls(endpoints: [String]) throws(CtlFailure) -> ClientConfiguration.TLS? {
        guard certificate.isEmpty == key.isEmpty else {
            throw .arguments("KeyFile and CertFile must both be present[key: \(key), cert: \(certificate)]")
        }
        for path in [certificate, key, authority] where !path.isEmpty {
            if let reason = StoredFile.refusal(toRead: path) { throw .arguments(reason) }
        }
        let hasFiles = !certificate.isEmpty || !authority.isEmpty
        let skipsForSecureEndpoints =
            skipsVerification && endpoints.allSatisfy { $0.hasPrefix("https://") || $0.hasPrefix("unixs://") }
        guard hasFiles || !insecureTransport || skipsForSecureEndpoints else { return nil }
        return ClientConfiguration.TLS(
            trustedCA: authority.isEmpty ? nil : authority, certificate: certificate, key: key,
            insecureSkipVerify: skipsVerification)
    }
}

/// `--user name:password`, `--user name --password password`, or `--user name` and a prompt.
enum Login {
    static func credentials(
        _ invocation: Invocation, userFlag: String, passwordFlag: String
    ) throws(CtlFailure) -> ClientConfiguration.Credentials? {
        let user = invocation.values.text(userFlag)
        let password = invocation.values.text(passwordFlag)
        guard !user.isEmpty else { return nil }
        if !password.isEmpty { return .init(user: user, password: password) }
        if let colon = user.firstIndex(of: ":") {
            let name = String(user[..<colon])
            guard !name.isEmpty else { throw .arguments("empty user name is not allowed") }
            return .init(user: name, password: String(user[user.index(after: colon)...]))
        }
        let prompt = userFlag == "user" ? "Password: " : "Destination Password: "
        return .init(user: user, password: Passwords.ask(prompt, invocation.console, StandardInput()))
    }
}

enum Passwords {
    /// What is typed behind the prompt; on a terminal unseen. An input that ends early is what came so far.
    static func ask(_ prompt: String, _ console: Console, _ input: StandardInput) -> String {
        let line = StandardStreams.withoutEcho {
            console.out(prompt)
            return input.readLine(partial: true) ?? []
        }
        console.out("\n")
        return ArgumentText.text(of: line)
    }
}
