// Heads and trailers of answers. Those of every gRPC call have their own place, see AnswerHeaders.

import GRPC

package struct ResponseHead: Sendable {
    private enum Form: Sendable {
        case grpc
        case fields([(String, String)])
    }

    private var form: Form

    /// 200, application/grpc.
    package static let grpc = ResponseHead(form: .grpc)

    package static func fields(_ fields: [(String, String)]) -> ResponseHead { ResponseHead(form: .fields(fields)) }

    /// Status and text of a call that ends without a message, in one head.
    package static func trailersOnly(code: UInt32, message: String) -> ResponseHead {
        ResponseHead(
            form: .fields([(":status", "200"), ("content-type", "application/grpc")] + statusFields(code, message)))
    }

    /// For a request that is neither gRPC nor, on this listener, anything else.
    package static func unsupportedContentType(_ type: String) -> ResponseHead {
        ResponseHead(
            form: .fields(
                [(":status", "415"), ("content-type", "application/grpc")]
                    + statusFields(3, "invalid gRPC request content-type \"\(type)\"")))
    }

    static func trailers(code: UInt32, message: String) -> ResponseHead {
        ResponseHead(form: .fields(statusFields(code, message)))
    }

    private static func statusFields(_ code: UInt32, _ message: String) -> [(String, String)] {
        var fields = [("grpc-status", String(code))]
        if !message.isEmpty {
            fields.append(("grpc-message", String(decoding: GRPCMessageText.encode(message), as: UTF8.self)))
        }
        return fields
    }

    /// True for the head of every gRPC answer, which has no block of its own.
    var isGRPC: Bool {
        if case .grpc = form { true } else { false }
    }

    /// As a header block of literals.
    func appendBlock(to block: inout [UInt8]) {
        switch form {
        case .grpc: ResponseHead.fields([(":status", "200"), ("content-type", "application/grpc")]).appendBlock(to: &block)
        case .fields(let fields):
            for (name, value) in fields { HeaderEncoder.append(name, value, to: &block) }
        }
    }
}
