// Where gRPC's codes meet HTTP's and HTTP/2's: what the JSON gateway answers, and what a client makes of an answer that is
// not gRPC at all (a proxy's error page, a reset stream).

extension GRPCCode {
    /// Which gateway is imitated; they differ in two rows.
    package enum GatewayGeneration: Sendable {
        case g34, g35, g36
    }

    /// The HTTP status of a failed JSON call.
    package func httpStatus(_ generation: GatewayGeneration = .g35) -> Int {
        switch self {
        case .ok: 200
        case .cancelled: generation == .g36 ? 499 : 408
        case .invalidArgument, .outOfRange: 400
        case .failedPrecondition: generation == .g34 ? 412 : 400
        case .deadlineExceeded: 504
        case .notFound: 404
        case .alreadyExists, .aborted: 409
        case .permissionDenied: 403
        case .unauthenticated: 401
        case .resourceExhausted: 429
        case .unimplemented: 501
        case .unavailable: 503
        default: 500
        }
    }

    /// The code for an HTTP answer without a gRPC status.
    package init(httpStatus: Int) {
        switch httpStatus {
        case 400: self = .internal
        case 401: self = .unauthenticated
        case 403: self = .permissionDenied
        case 404: self = .unimplemented
        case 429, 502, 503, 504: self = .unavailable
        default: self = .unknown
        }
    }

    /// The code for a stream that was reset with an HTTP/2 error code.
    package init(http2Error: UInt32) {
        switch http2Error {
        case 0x7: self = .unavailable  // REFUSED_STREAM: not begun, may be repeated
        case 0x8: self = .cancelled  // CANCEL
        case 0xb: self = .resourceExhausted  // ENHANCE_YOUR_CALM
        case 0xc: self = .permissionDenied  // INADEQUATE_SECURITY
        default: self = .internal
        }
    }
}
