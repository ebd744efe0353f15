// How a command ends badly: the exit code scripts look at, and the line people read. Codes are etcdctl's.

import GRPC

package struct CtlFailure: Error, Equatable, Sendable {
    package enum Exit: Int32, Sendable {
        /// A request failed, an unknown command or flag, a conflict with the environment.
        case error = 1
        /// The connection or the login could not be set up.
        case badConnection = 2
        /// A line of input could not be used.
        case badInput = 3
        /// A flag has a value that is not supported.
        case badFeature = 4
        /// The server ended what should go on, or a stream broke.
        case interrupted = 5
        /// The arguments make no sense.
        case badArguments = 128
    }

    package var code: Int32
    /// Empty: everything has been said.
    package var message: String
    /// More for a person: what to look at. Only shown under our own name, where nobody compares texts.
    package var advice = ""

    package init(_ exit: Exit, _ message: String, advice: String = "") {
        code = exit.rawValue
        self.message = message
        self.advice = advice
    }

    package init(code: Int32, _ message: String = "") {
        self.code = code
        self.message = message
    }

    /// A request's answer was an error.
    package init(_ status: GRPCStatus, exit: Exit = .error) { self.init(exit, status.shown) }

    static func arguments(_ message: String) -> CtlFailure { CtlFailure(.badArguments, message) }
}

extension GRPCStatus {
    /// As etcd's tools print it: etcd's own errors and deadlines by their text alone, others with the code.
    var shown: String {
        if code == .deadlineExceeded { return "context deadline exceeded" }
        if message.hasPrefix("etcdserver: ") || message.hasPrefix("context ") { return message }
        return description
    }
}
