// Requests out of a stream of bytes, as a server reads them.
//
//     var position = 0
//     while let event = try parser.next(bytes.rawSpan, &position) {
//         switch event {
//         case .head(let head): …          // may set parser.limits.bodyBytesMax for this body
//         case .body(let range): …         // of `bytes`
//         case .end(let trailers): …       // stop pulling until answered, to keep pipelined requests waiting
//         }
//     }
//     // bytes before `position` are done with

import Foundations

package struct HTTPRequestParser: Sendable {
    package enum Event: Equatable {
        case head(HTTPRequestHead)
        case body(Range<Int>)
        case end(trailers: HTTPFields)
    }

    package var limits: HTTPLimits
    private var parser = MessageParser()

    package init(limits: HTTPLimits = HTTPLimits()) { self.limits = limits }

    /// Nothing of a request has arrived since the last one ended: the connection is idle.
    package var isBetweenMessages: Bool { parser.isBetweenMessages }

    /// The next event; nil when more bytes are needed. After an error the connection cannot go on.
    package mutating func next(_ bytes: RawSpan, _ position: inout Int) throws(HTTPError) -> Event? {
        guard let event = try parser.next(bytes, &position, limits) else { return nil }
        switch event {
        case .content(let range): return .body(range)
        case .end(let trailers): return .end(trailers: trailers)
        case .head(let startLine, let fields):
            let head = try Self.head(startLine, fields)
            parser.startBody(head.framing)
            return .head(head)
        }
    }

    /// The connection ended: an error inside a request.
    package mutating func finish() throws(HTTPError) { _ = try parser.finish() }

    private static func head(_ line: [UInt8], _ fields: HTTPFields) throws(HTTPError) -> HTTPRequestHead {
        let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, HTTPGrammar.isToken(parts[0]), !parts[1].isEmpty,
            parts[1].allSatisfy({ $0 > 0x20 && $0 != 0x7f })
        else { throw .requestLine }
        let version = try MessageParser.version(parts[2], malformed: .requestLine)
        try checkHost(version, fields)
        let framing = try MessageParser.framing(version, fields) ?? .none
        for expectation in fields.list("expect") where !HTTPGrammar.sameName(expectation, "100-continue") {
            throw .expectation
        }
        return HTTPRequestHead(
            String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self), version: version,
            fields: fields, framing: framing)
    }

    private static func checkHost(_ version: HTTPVersion, _ fields: HTTPFields) throws(HTTPError) {
        let hosts = fields.values("host")
        guard hosts.count == 1 || (hosts.isEmpty && version == .http10) else { throw .host }
        if let host = hosts.first {
            let bad = host.utf8.contains { $0 <= 0x20 || $0 == 0x2f || $0 == 0x40 || $0 == 0x3f || $0 == 0x23 || $0 == 0x2c }
            if bad { throw .host }
        }
    }
}

/// What a cleartext connection speaks, from its first bytes.
package enum HTTPPreface {
    package enum Verdict: Equatable { case http1, http2, undecided }

    package static let http2 = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    package static func examine(_ bytes: RawSpan) -> Verdict {
        for i in 0..<min(bytes.byteCount, http2.count) where bytes[byte: i] != http2[i] { return .http1 }
        return bytes.byteCount >= http2.count ? .http2 : .undecided
    }
}
