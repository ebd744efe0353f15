// The head of a request as nghttp2 takes it.

import CNghttp2
import Foundations

package struct RequestHead: Sendable {
    package var fields: [(name: String, value: [UInt8])]

    package init(fields: [(name: String, value: [UInt8])]) { self.fields = fields }

    /// What every gRPC call carries; `metadata` follows with lower-case names, binary values already in base64.
    package static func grpc(
        path: String, authority: String, scheme: String, userAgent: String, timeout: String? = nil,
        metadata: [(name: String, value: [UInt8])] = []
    ) -> RequestHead {
        var fields: [(name: String, value: [UInt8])] = [
            (":method", Array("POST".utf8)), (":scheme", Array(scheme.utf8)), (":path", Array(path.utf8)),
            (":authority", Array(authority.utf8)), ("content-type", Array("application/grpc".utf8)),
            ("user-agent", Array(userAgent.utf8)), ("te", Array("trailers".utf8)),
        ]
        if let timeout { fields.append(("grpc-timeout", Array(timeout.utf8))) }
        return RequestHead(fields: fields + metadata)
    }

    /// Secrets stay out of the compression table, where a guess could be confirmed by its length.
    private static let secrets: Set<String> = ["authorization", "token", "cookie"]

    /// Calls `body` with the fields; nghttp2 copies what it keeps.
    func withNameValues<R>(_ body: (UnsafePointer<nghttp2_nv>, Int) -> R) -> R {
        var bytes: [UInt8] = []
        for (name, value) in fields {
            bytes.append(contentsOf: name.utf8)
            bytes.append(contentsOf: value)
        }
        return unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            var at = unsafe buffer.baseAddress.unsafelyUnwrapped
            var values: [nghttp2_nv] = unsafe []
            for (name, value) in fields {
                let secret = RequestHead.secrets.contains(name)
                let nameCount = name.utf8.count
                unsafe values.append(
                    nghttp2_nv(
                        name: at, value: at + nameCount, namelen: nameCount, valuelen: value.count,
                        flags: UInt8((secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE).rawValue)))
                unsafe at += nameCount + value.count
            }
            return unsafe values.withUnsafeBufferPointer { unsafe body($0.baseAddress.unsafelyUnwrapped, $0.count) }
        }
    }
}
