// Messages into bytes. The head's framing decides the length fields: callers do not write Content-Length or
// Transfer-Encoding themselves, so a head and its body cannot disagree.

import Foundations

package enum HTTPWriter {
    package static func append(_ head: HTTPRequestHead, to bytes: inout [UInt8]) {
        invariant(HTTPGrammar.isToken(head.method.utf8), "method \(head.method)")
        invariant(
            !head.target.isEmpty && head.target.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }, "target \(head.target)")
        bytes.append(contentsOf: "\(head.method) \(head.target) \(head.version.text)\r\n".utf8)
        append(head.fields, head.framing, to: &bytes)
    }

    package static func append(_ head: HTTPResponseHead, to bytes: inout [UInt8]) {
        invariant((100...999).contains(head.status), "status \(head.status)")
        bytes.append(contentsOf: "\(head.version.text) \(head.status) ".utf8)
        appendClean(head.reason, to: &bytes)
        bytes.append(contentsOf: "\r\n".utf8)
        // 1xx and 204 have no length fields; other responses without a body say so.
        let framing =
            head.framing == .none && head.status >= 200 && head.status != 204 && head.status != 304
            ? .length(0) : head.framing
        append(head.fields, framing, to: &bytes)
    }

    /// One chunk of a chunked body; nothing for no bytes, because an empty chunk would end the body.
    package static func appendChunk(_ content: RawSpan, to bytes: inout [UInt8]) {
        guard content.byteCount > 0 else { return }
        bytes.append(contentsOf: String(content.byteCount, radix: 16).utf8)
        bytes.append(contentsOf: "\r\n".utf8)
        bytes.append(content)
        bytes.append(contentsOf: "\r\n".utf8)
    }

    /// One chunk whose content is made in place. Its length, known only then, has eight digits, zeros in front.
    package static func appendChunk(to bytes: inout [UInt8], _ make: (inout [UInt8]) -> Void) {
        let start = bytes.count
        bytes.append(contentsOf: "00000000\r\n".utf8)
        let contentStart = bytes.count
        make(&bytes)
        let count = bytes.count - contentStart
        invariant(count >= 0 && count <= UInt32.max, "a chunk of \(count) bytes")
        if count == 0 { return bytes.removeLast(contentStart - start) }
        for i in 0..<8 {
            let digit = UInt8(truncatingIfNeeded: count >> (28 - 4 * i)) & 15
            bytes[start + i] = digit < 10 ? 0x30 + digit : 0x61 + digit - 10
        }
        bytes.append(contentsOf: "\r\n".utf8)
    }

    package static func appendLastChunk(trailers: HTTPFields = [], to bytes: inout [UInt8]) {
        bytes.append(contentsOf: "0\r\n".utf8)
        append(trailers, .none, to: &bytes)
    }

    private static func append(_ fields: HTTPFields, _ framing: HTTPFraming, to bytes: inout [UInt8]) {
        for field in fields {
            invariant(HTTPGrammar.isToken(field.name.utf8), "field name \(field.name)")
            invariant(
                !HTTPGrammar.sameName(field.name, "content-length") && !HTTPGrammar.sameName(field.name, "transfer-encoding"),
                "length fields are written by the framing")
            bytes.append(contentsOf: field.name.utf8)
            bytes.append(contentsOf: ": ".utf8)
            appendClean(field.value, to: &bytes)
            bytes.append(contentsOf: "\r\n".utf8)
        }
        switch framing {
        case .none, .untilClose: break
        case .length(let count): bytes.append(contentsOf: "Content-Length: \(count)\r\n".utf8)
        case .chunked: bytes.append(contentsOf: "Transfer-Encoding: chunked\r\n".utf8)
        }
        bytes.append(contentsOf: "\r\n".utf8)
    }

    /// Values may carry text from outside (error messages): what could start a new line becomes a blank.
    private static func appendClean(_ value: String, to bytes: inout [UInt8]) {
        for byte in value.utf8 { bytes.append(HTTPGrammar.isFieldContent(byte) ? byte : 0x20) }
    }
}
