// What a client is made from.

/// Where the cluster is, who we are, and how patient to be.
///
///     var configuration = ClientConfiguration(endpoints: ["https://a:2379", "https://b:2379", "https://c:2379"])
///     configuration.tls = .init(trustedCA: "/etc/app/ca.pem")
///     configuration.credentials = .init(user: "app", password: "secret")
///     let client = try Client(configuration)
public struct ClientConfiguration: Sendable {
    /// Certificates, as paths of PEM files. They are read again when they change.
    public struct TLS: Sendable {
        /// The CA that signed the servers' certificates; nil for the system's.
        public var trustedCA: String?
        /// Shown to servers that ask for a certificate.
        public var certificate: String
        public var key: String
        /// The name servers' certificates must be valid for, where it is not the endpoint's host.
        public var serverName: String
        /// Takes any certificate. Traffic can then be read and changed on its way.
        public var insecureSkipVerify: Bool

        public init(
            trustedCA: String? = nil, certificate: String = "", key: String = "", serverName: String = "",
            insecureSkipVerify: Bool = false
        ) {
            self.trustedCA = trustedCA
            self.certificate = certificate
            self.key = key
            self.serverName = serverName
            self.insecureSkipVerify = insecureSkipVerify
        }
    }

    /// A user of the cluster's own authentication.
    public struct Credentials: Sendable {
        public var user: String
        public var password: String

        public init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }

    /// `host:port`, or a URL with http, https, unix or unixs. http is cleartext and https TLS; without a scheme it is TLS
    /// when ``tls`` is set.
    public var endpoints: [String]
    public var tls: TLS?
    public var credentials: Credentials?
    /// A token that was made elsewhere (a JWT for example), instead of ``credentials``.
    public var token: String?
    /// For a call that names no time-out of its own; nil: for ever. Waiting calls (locks, elections, streams) have none.
    public var timeout: Duration?
    /// From the first packet to a server until it speaks HTTP/2.
    public var connectTimeout: Duration = .seconds(2)  // zero: no limit
    /// How long a call without a time-out waits while no endpoint can be reached.
    public var connectionWait: Duration = .seconds(10)
    /// A connection with calls in flight that is silent for so long is probed. Less than ten seconds counts as ten:
    /// servers refuse to be probed more often than every five.
    public var keepaliveInterval: Duration = .seconds(10)
    package var keepaliveFloor: Duration = .seconds(10)
    /// A probe that is not answered for so long ends the connection.
    public var keepaliveTimeout: Duration = .seconds(6)
    /// The pause before connecting again, first and longest; it grows by 1.6 each time and varies by a fifth.
    public var reconnectDelay: ClosedRange<Duration> = .milliseconds(50) ... .seconds(5)
    /// The longest request. Servers have a limit of their own.
    public var sendBytesMax = 2 << 20
    /// The longest answer.
    public var receiveBytesMax = Int(Int32.max)
    /// With several endpoints: ask each for its health and prefer those that serve.
    public var checksHealth = true
    /// Of the jitter; for repeatable tests.
    package var seed: UInt64?

    public init(endpoints: [String] = ["127.0.0.1:2379"], timeout: Duration? = .seconds(10)) {
        self.endpoints = endpoints
        self.timeout = timeout
    }
}
