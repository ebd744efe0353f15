// One attempt of a call, as tasks hand it to the loop (or a proxy that shares the loop does), and what comes back.

import GRPC
import Linux

package struct CallRequest: Sendable {
    package var path: String
    /// Framed; the call's only one. Nil: messages follow.
    package var message: [UInt8]?
    package var metadata: [(name: String, value: [UInt8])] = []
    package var deadline = Deadline.never
    /// Only this endpoint will do, one of the cluster's or not.
    var endpoint: String?
    /// The link whose failure is the reason for this attempt: another one is better.
    package var avoiding: Int?

    package init(path: String, message: [UInt8]? = nil) {
        self.path = path
        self.message = message
    }
}

package struct CallResult: Sendable {
    package var status: GRPCStatus
    /// The server has certainly not begun with it.
    var notProcessed = false
    /// Cancelled, out of time or without a connection: found on this side.
    var isLocal = false
    /// The link that was used.
    package var link: Int?
    var endpoint = ""
    var detail = ""

    var error: ClientError { ClientError(status, detail: detail, endpoint: endpoint) }
}

/// A point on the monotonic clock.
package struct Deadline: Hashable, Comparable, Sendable {
    let nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let never = Deadline(nanoseconds: .max)

    package static func after(_ duration: Duration?) -> Deadline {
        guard let duration else { return .never }
        let (sum, overflow) = Clock.monotonic().addingReportingOverflow(duration.nanoseconds)
        return overflow ? .never : Deadline(nanoseconds: sum)
    }

    package static func < (a: Deadline, b: Deadline) -> Bool { a.nanoseconds < b.nanoseconds }

    package var isNever: Bool { self == .never }
    package var hasPassed: Bool { remaining == 0 }

    /// Nanoseconds until then.
    var remaining: UInt64 {
        let now = Clock.monotonic()
        return nanoseconds > now ? nanoseconds - now : 0
    }
}

extension Duration {
    /// Negative ones count as none, endless ones as 292 years.
    package var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        if seconds > Int64.max / 1_000_000_000 - 1 { return UInt64(Int64.max) }
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
    }
}
