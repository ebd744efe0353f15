// How a gRPC call ends: a code decides what a client may do next, the message says what happened. Clients recognise
// etcd's errors by the exact text, so every text is defined once, in `EtcdError`.

package struct GRPCStatus: Error, Hashable, Sendable, CustomStringConvertible {
    package var code: GRPCCode
    package var message: String

    package init(_ code: GRPCCode, _ message: String = "") {
        self.code = code
        self.message = message
    }

    package static let ok = GRPCStatus(.ok)

    package var isOK: Bool { code == .ok }

    /// As Go clients print it, and as a watch's cancel reason carries it.
    package var description: String { "rpc error: code = \(code.name) desc = \(message)" }
}

/// Status codes by number. Numbers outside the table are kept, and count as unknown.
package struct GRPCCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    package var rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let ok = GRPCCode(rawValue: 0)
    package static let cancelled = GRPCCode(rawValue: 1)
    package static let unknown = GRPCCode(rawValue: 2)
    package static let invalidArgument = GRPCCode(rawValue: 3)
    package static let deadlineExceeded = GRPCCode(rawValue: 4)
    package static let notFound = GRPCCode(rawValue: 5)
    package static let alreadyExists = GRPCCode(rawValue: 6)
    package static let permissionDenied = GRPCCode(rawValue: 7)
    package static let resourceExhausted = GRPCCode(rawValue: 8)
    package static let failedPrecondition = GRPCCode(rawValue: 9)
    package static let aborted = GRPCCode(rawValue: 10)
    package static let outOfRange = GRPCCode(rawValue: 11)
    package static let unimplemented = GRPCCode(rawValue: 12)
    package static let `internal` = GRPCCode(rawValue: 13)
    package static let unavailable = GRPCCode(rawValue: 14)
    package static let dataLoss = GRPCCode(rawValue: 15)
    package static let unauthenticated = GRPCCode(rawValue: 16)

    /// Go's spelling: `InvalidArgument`, `Canceled`.
    package var name: String {
        let names = [
            "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
            "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
            "Internal", "Unavailable", "DataLoss", "Unauthenticated",
        ]
        return rawValue < names.count ? names[Int(rawValue)] : "Code(\(rawValue))"
    }

    package var description: String { name }

    /// The value of the grpc-status header. Nil when it is no number.
    package init?(header: some Collection<UInt8>) {
        guard !header.isEmpty, header.count <= 9 else { return nil }
        var value: UInt32 = 0
        for digit in header {
            guard (0x30...0x39).contains(digit) else { return nil }
            value = value * 10 + UInt32(digit - 0x30)
        }
        rawValue = value
    }
}
