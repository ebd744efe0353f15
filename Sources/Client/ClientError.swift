// How a call to the cluster fails: always one type, with the code and the exact text of the server, or those a gRPC client
// gives when it could not even ask.

import GRPC

/// Why a call to the cluster failed.
///
/// ``code`` decides what a program can do next; ``message`` is the server's exact text, which other etcd clients know too.
///
///     do {
///         try await client.put("app/config", "new")
///     } catch {
///         switch error.code {
///         case .unavailable, .deadlineExceeded: print("no answer; it is not known whether the value was written")
///         case .permissionDenied: print("not allowed")
///         default: print(error)
///         }
///     }
public struct ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A gRPC status code.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        /// The number on the wire.
        public let number: UInt32

        /// A code by its number.
        public init(number: UInt32) { self.number = number }

        /// The task was cancelled, or the client closed.
        public static let cancelled = Code(number: 1)
        public static let unknown = Code(number: 2)
        public static let invalidArgument = Code(number: 3)
        /// The time given for the call is over. A change may have happened nevertheless.
        public static let deadlineExceeded = Code(number: 4)
        public static let notFound = Code(number: 5)
        public static let alreadyExists = Code(number: 6)
        public static let permissionDenied = Code(number: 7)
        public static let resourceExhausted = Code(number: 8)
        public static let failedPrecondition = Code(number: 9)
        public static let aborted = Code(number: 10)
        /// A revision that is compacted, or not yet there.
        public static let outOfRange = Code(number: 11)
        public static let unimplemented = Code(number: 12)
        public static let `internal` = Code(number: 13)
        /// No member could answer. Requests that only read have been tried again; a change may have happened.
        public static let unavailable = Code(number: 14)
        public static let dataLoss = Code(number: 15)
        public static let unauthenticated = Code(number: 16)

        /// The name gRPC gives it: `InvalidArgument`.
        public var description: String { GRPCCode(rawValue: number).name }
    }

    /// What kind of failure it is.
    public var code: Code
    /// The text that came with it, unchanged.
    public var message: String
    /// What else is known, for people: the last failure to connect, the failure that was being retried. May be empty.
    public var detail: String
    /// The endpoint that answered; empty when none did.
    public var endpoint: String

    public init(code: Code, message: String, detail: String = "", endpoint: String = "") {
        self.code = code
        self.message = message
        self.detail = detail
        self.endpoint = endpoint
    }

    package init(_ status: GRPCStatus, detail: String = "", endpoint: String = "") {
        self.init(
            code: Code(number: status.code.rawValue), message: status.message, detail: detail, endpoint: endpoint)
    }

    package var status: GRPCStatus { GRPCStatus(GRPCCode(rawValue: code.number), message) }

    /// True for a failure with this code and text.
    package func `is`(_ status: GRPCStatus) -> Bool { self.status == status }

    /// The text of errors everybody knows; others with their code, as Go's client prints them.
    public var description: String {
        Self.plainTexts.contains(message) ? message : status.description
    }

    private static let plainTexts = Set(EtcdError.all.map(\.message).filter { $0.hasPrefix("etcdserver: ") })
        .union([EtcdError.contextDeadlineExceeded.message, EtcdError.contextCanceled.message])
}

extension ClientError {
    /// The history that was asked for is compacted away.
    public var isCompacted: Bool { self.is(EtcdError.compacted) }
    /// The lease is over, or never was.
    public var isLeaseNotFound: Bool { message == EtcdError.leaseNotFound.message }
    /// The caller's task was cancelled.
    public var isCancelled: Bool { code == .cancelled }

    static let closed = ClientError(code: .cancelled, message: "grpc: the client connection is closing")
    static let cancelled = ClientError(EtcdError.contextCanceled)
    static let deadlineExceeded = ClientError(EtcdError.contextDeadlineExceeded)
}
