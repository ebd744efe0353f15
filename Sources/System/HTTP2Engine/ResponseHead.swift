// Heads and trailers as nghttp2 takes them. The ones every call uses are made once for the process.

import CNghttp2
import GRPC
import Glibc

@safe package struct ResponseHead: Sendable {
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

    /// Calls `body` with the fields; nghttp2 copies what it keeps.
    func withNameValues<R>(_ body: (UnsafePointer<nghttp2_nv>, Int) -> R) -> R {
        switch form {
        case .grpc: return unsafe body(StaticFields.grpcHead, 2)
        case .fields(let fields):
            var bytes: [UInt8] = []
            for (name, value) in fields {
                bytes.append(contentsOf: name.utf8)
                bytes.append(contentsOf: value.utf8)
            }
            return unsafe bytes.withUnsafeMutableBufferPointer { buffer in
                var at = buffer.baseAddress!
                var values: [nghttp2_nv] = unsafe []
                for (name, value) in fields {
                    let nameCount = name.utf8.count, valueCount = value.utf8.count
                    unsafe values.append(
                        nghttp2_nv(
                            name: at, value: at + nameCount, namelen: nameCount, valuelen: valueCount,
                            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
                    unsafe at += nameCount + valueCount
                }
                return unsafe body(values, values.count)
            }
        }
    }
}

/// Fields that never change, in memory that is never freed.
@safe enum StaticFields {
    // Written once before first use, read-only afterwards.
    nonisolated(unsafe) static let grpcHead = unsafe make([(":status", "200"), ("content-type", "application/grpc")])
    nonisolated(unsafe) static let trailersOK = unsafe make([("grpc-status", "0")])

    private static func make(_ fields: [(StaticString, StaticString)]) -> UnsafePointer<nghttp2_nv> {
        let values = UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: fields.count)
        for (i, (name, value)) in fields.enumerated() {
            unsafe (values + i).initialize(
                to: nghttp2_nv(
                    name: UnsafeMutablePointer(mutating: name.utf8Start),
                    value: UnsafeMutablePointer(mutating: value.utf8Start), namelen: name.utf8CodeUnitCount,
                    valuelen: value.utf8CodeUnitCount,
                    flags: UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue)))
        }
        return unsafe UnsafePointer(values)
    }
}
