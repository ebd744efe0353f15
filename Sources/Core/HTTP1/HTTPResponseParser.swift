// Responses out of a stream of bytes, as a client reads them. Which body a response has depends on its request, so the
// client says what it asked before it pulls.

import Foundations

package struct HTTPResponseParser {
    package enum Event: Equatable {
        /// 1xx: another head follows.
        case informational(HTTPResponseHead)
        case head(HTTPResponseHead)
        case body(Range<Int>)
        case end(trailers: HTTPFields)
    }

    package var limits: HTTPLimits
    /// The method of the request that is being answered.
    package var requestMethod: String
    /// 101 was received: what follows is another protocol's.
    package private(set) var isUpgraded = false
    private var parser = MessageParser()

    package init(requestMethod: String = "GET", limits: HTTPLimits = HTTPLimits()) {
        self.requestMethod = requestMethod
        self.limits = limits
    }

    package var isBetweenMessages: Bool { parser.isBetweenMessages }

    package mutating func next(_ bytes: RawSpan, _ position: inout Int) throws(HTTPError) -> Event? {
        if isUpgraded { return nil }
        guard let event = try parser.next(bytes, &position, limits) else { return nil }
        switch event {
        case .content(let range): return .body(range)
        case .end(let trailers): return .end(trailers: trailers)
        case .head(let startLine, let fields):
            let head = try head(startLine, fields)
            if head.isInformational {
                parser.skipBody()
                return .informational(head)
            }
            isUpgraded = head.status == 101
            parser.startBody(head.framing)
            return .head(head)
        }
    }

    /// The connection ended. `end` when that is how the body ends, nil between messages.
    package mutating func finish() throws(HTTPError) -> Event? {
        if isUpgraded { return nil }
        return try parser.finish() ? .end(trailers: []) : nil
    }

    private func head(_ line: [UInt8], _ fields: HTTPFields) throws(HTTPError) -> HTTPResponseHead {
        let parts = line.split(separator: 0x20, maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, parts[1].count == 3, parts[1].allSatisfy({ (0x30...0x39).contains($0) }) else {
            throw .statusLine
        }
        let version = try MessageParser.version(parts[0], malformed: .statusLine)
        let status = parts[1].reduce(0) { $0 * 10 + Int($1 - 0x30) }
        let reason = parts.count == 3 ? parts[2] : []
        guard status >= 100, reason.allSatisfy(HTTPGrammar.isFieldContent) else { throw .statusLine }
        return HTTPResponseHead(
            status, reason: String(decoding: reason, as: UTF8.self), version: version, fields: fields,
            framing: try framing(status, version, fields))
    }

    private func framing(_ status: Int, _ version: HTTPVersion, _ fields: HTTPFields) throws(HTTPError) -> HTTPFraming {
        let announced = try MessageParser.framing(version, fields)
        if status < 200 || status == 204 || status == 304 || requestMethod == "HEAD" { return .none }
        return announced ?? .untilClose
    }
}
