// Whole requests, for servers whose bodies are small: collects what `HTTPRequestParser` finds.
//
//     var parser = RequestParser(limits)
//     try parser.feed(bytes) { request in ... }      // called for each complete request, in order

import Foundations

package struct RequestParser: Sendable {
    private var parser: HTTPRequestParser
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    package init(_ limits: HTTPLimits = HTTPLimits()) { parser = HTTPRequestParser(limits: limits) }

    /// Nothing of a next request has arrived.
    package var isBetweenRequests: Bool { parser.isBetweenMessages }

    /// The head is complete, the body is not.
    package var isReadingBody: Bool { head != nil }

    /// The head of a request is complete and its body is awaited by a client that wants to be told to go on.
    package var expectsContinue: Bool { head?.expectsContinue == true && body.isEmpty }

    /// Takes bytes; calls `complete` for each request that is whole. Stops early, returning how many bytes were taken,
    /// when `complete` returns false.
    @discardableResult
    package mutating func feed(_ bytes: RawSpan, _ complete: (HTTPRequest) -> Bool) throws(HTTPError) -> Int {
        var position = 0
        while let event = try parser.next(bytes, &position) {
            switch event {
            case .head(let started): head = started
            case .body(let range): body.append(bytes.extracting(range))
            case .end:
                guard let head else { unreachable("a request ends after it began") }
                let request = HTTPRequest(head, body: body)
                self.head = nil
                body = []
                if !complete(request) { return position }
            }
        }
        return position
    }
}
