// Why a message was refused. After any of these the position of the next message is unknown: a server answers with
// `status` and closes, a client closes.

package enum HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    case requestLine
    case statusLine
    case version
    /// CR without LF, LF without CR, or a control character in a head.
    case lineEnd
    case fieldName
    case fieldValue
    /// A line that continues the one before (obs-fold).
    case foldedField
    case lineTooLong(limit: Int)
    case headTooLarge(limit: Int)
    case tooManyFields(limit: Int)
    case host
    case contentLength
    case transferEncoding
    /// Content-Length beside Transfer-Encoding: two opinions on where the message ends.
    case twoLengths
    case expectation
    case chunk
    case trailer
    case bodyTooLarge(limit: Int)
    /// The connection ended inside a message.
    case truncated
    /// More requests sent ahead than are kept while one is answered.
    case tooFarAhead

    /// What a server answers.
    package var status: Int {
        switch self {
        case .version: 505
        case .lineTooLong, .headTooLarge, .tooManyFields: 431
        case .transferEncoding: 501
        case .expectation: 417
        case .bodyTooLarge, .tooFarAhead: 413
        default: 400
        }
    }

    package var description: String {
        switch self {
        case .requestLine: "malformed request line"
        case .statusLine: "malformed status line"
        case .version: "unsupported HTTP version"
        case .lineEnd: "lines must end in CR LF"
        case .fieldName: "malformed header field name"
        case .fieldValue: "malformed header field value"
        case .foldedField: "folded header fields are not accepted"
        case .lineTooLong(let limit): "header line is longer than \(limit) bytes"
        case .headTooLarge(let limit): "headers are larger than \(limit) bytes"
        case .tooManyFields(let limit): "more than \(limit) header fields"
        case .host: "a request must have one well-formed Host header"
        case .contentLength: "malformed or repeated Content-Length"
        case .transferEncoding: "unsupported transfer encoding"
        case .twoLengths: "Content-Length together with Transfer-Encoding"
        case .expectation: "unknown expectation"
        case .chunk: "malformed chunked encoding"
        case .trailer: "malformed or forbidden trailer field"
        case .bodyTooLarge(let limit): "body is larger than \(limit) bytes"
        case .truncated: "connection closed inside a message"
        case .tooFarAhead: "too much sent ahead"
        }
    }
}

/// Bounds on what a peer may make us hold. Bodies are never held here; their bound protects who collects them.
package struct HTTPLimits: Sendable, Equatable {
    package var lineBytesMax = 32 << 10
    package var headBytesMax = 64 << 10
    package var fieldsMax = 256
    package var chunkLineBytesMax = 256
    package var bodyBytesMax = 8 << 20

    package init() {}
}
