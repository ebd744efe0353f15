// HTTP/1.1 requests from bytes, however they are cut. Strict where leniency has let requests be smuggled: no length given
// twice or in two ways, no folded headers, no blanks around names, exact chunk sizes; lines end in CR LF (a bare LF is
// taken too, as Go does).
//
//     var parser = RequestParser(limits)
//     try parser.feed(bytes) { request in ... }      // called for each complete request, in order

import Foundations

package struct HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The answer the peer gets before the connection is closed.
    package var status: Int
    package var reason: String

    package init(_ status: Int, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    package var description: String { "\(status) \(reason)" }
}

package struct HTTPLimits: Sendable, Equatable {
    package var headBytesMax = 64 * 1024
    package var headersMax = 256
    package var bodyBytesMax = 8 << 20

    package init() {}
}

package struct RequestParser: Sendable {
    private enum State: Equatable, Sendable {
        case requestLine
        case headers
        case body(remaining: Int)
        case chunkSize
        case chunk(remaining: Int)
        case chunkEnd
        case trailers
    }

    private let limits: HTTPLimits
    private var state = State.requestLine
    private var line: [UInt8] = []
    private var headBytes = 0
    private var request = HTTPRequest(method: "", target: "")

    package init(_ limits: HTTPLimits = HTTPLimits()) { self.limits = limits }

    /// Nothing of a next request has arrived.
    package var isBetweenRequests: Bool { state == .requestLine && line.isEmpty }

    /// The head is complete, the body is not.
    package var isReadingBody: Bool {
        switch state {
        case .requestLine, .headers: false
        case .body, .chunkSize, .chunk, .chunkEnd, .trailers: true
        }
    }

    /// True when the head of a request is complete and its body is awaited by a client that wants to be told to go on.
    package var expectsContinue: Bool {
        switch state {
        case .body(let remaining): remaining > 0 && request.body.isEmpty && wantsContinue
        case .chunkSize: request.body.isEmpty && wantsContinue
        default: false
        }
    }

    private var wantsContinue: Bool { request.header("expect")?.lowercased() == "100-continue" }

    /// Takes bytes; calls `complete` for each request that is whole. Stops early, returning how many bytes were taken,
    /// when `complete` returns false.
    @discardableResult
    package mutating func feed(_ bytes: RawSpan, _ complete: (HTTPRequest) -> Bool) throws(HTTPError) -> Int {
        var at = 0
        while at < bytes.byteCount {
            switch state {
            case .body(let remaining), .chunk(let remaining):
                let count = min(remaining, bytes.byteCount - at)
                guard request.body.count + count <= limits.bodyBytesMax else { throw HTTPError(413, "body too large") }
                request.body.append(bytes.extracting(at..<at + count))
                at += count
                if case .body = state {
                    state = .body(remaining: remaining - count)
                    if remaining == count, !finish(complete) { return at }
                } else {
                    state = remaining == count ? .chunkEnd : .chunk(remaining: remaining - count)
                }
            default:
                let byte = bytes[byte: at]
                at += 1
                if byte != 0x0a {
                    line.append(byte)
                    headBytes += 1
                    guard headBytes <= limits.headBytesMax else { throw HTTPError(431, "request head too large") }
                    continue
                }
                if line.last == 0x0d { line.removeLast() }
                let whole = try takeLine()
                line.removeAll(keepingCapacity: true)
                if whole, !finish(complete) { return at }
            }
        }
        return at
    }

    private mutating func finish(_ complete: (HTTPRequest) -> Bool) -> Bool {
        let done = request
        request = HTTPRequest(method: "", target: "")
        state = .requestLine
        headBytes = 0
        return complete(done)
    }

    /// One line without its end; true when it completes a request.
    private mutating func takeLine() throws(HTTPError) -> Bool {
        guard !line.contains(0x0d), !line.contains(0) else { throw HTTPError(400, "stray control character") }
        switch state {
        case .requestLine:
            if line.isEmpty { return false }  // blank lines before a request are ignored
            try takeRequestLine()
            state = .headers
            return false
        case .headers:
            if line.isEmpty { return try headersDone() }
            try takeHeader(keep: true)
            return false
        case .chunkSize:
            let size = try chunkSize()
            state = size == 0 ? .trailers : .chunk(remaining: size)
            return false
        case .chunkEnd:
            guard line.isEmpty else { throw HTTPError(400, "chunk longer than its size") }
            state = .chunkSize
            headBytes = 0
            return false
        case .trailers:
            if line.isEmpty { return true }
            try takeHeader(keep: false)
            return false
        case .body, .chunk: unreachable("bodies are not read by line")
        }
    }

    private mutating func takeRequestLine() throws(HTTPError) {
        let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, parts[0].allSatisfy(isToken) else {
            throw HTTPError(400, "malformed request line")
        }
        switch String(decoding: parts[2], as: UTF8.self) {
        case "HTTP/1.1": break
        case "HTTP/1.0": request.isHTTP10 = true
        default: throw HTTPError(505, "unsupported protocol version")
        }
        guard !parts[1].isEmpty, parts[1].allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else {
            throw HTTPError(400, "malformed request target")
        }
        request.method = String(decoding: parts[0], as: UTF8.self)
        var target = String(decoding: parts[1], as: UTF8.self)
        if target.hasPrefix("http://") || target.hasPrefix("https://") {
            let rest = target.dropFirst(target.hasPrefix("https") ? 8 : 7)
            target = rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? "/"
        }
        request.target = target
    }

    private mutating func takeHeader(keep: Bool) throws(HTTPError) {
        guard let colon = line.firstIndex(of: 0x3a), colon > 0, line[..<colon].allSatisfy(isToken) else {
            throw HTTPError(400, "malformed header")
        }
        guard keep else { return }
        guard request.headers.count < limits.headersMax else { throw HTTPError(431, "too many headers") }
        var value = line[(colon + 1)...]
        while let first = value.first, first == 0x20 || first == 0x09 { value.removeFirst() }
        while let last = value.last, last == 0x20 || last == 0x09 { value.removeLast() }
        let name = line[..<colon].map { (0x41...0x5a).contains($0) ? $0 + 32 : $0 }
        request.headers.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
    }

    private mutating func headersDone() throws(HTTPError) -> Bool {
        let lengths = request.headers.filter { $0.name == "content-length" }.map(\.value)
        let codings = request.headers.filter { $0.name == "transfer-encoding" }.map(\.value)
        if !request.isHTTP10 && request.headers.filter({ $0.name == "host" }).count != 1 {
            throw HTTPError(400, "missing or repeated Host header")
        }
        if !codings.isEmpty {
            guard lengths.isEmpty, codings.count == 1, codings[0].lowercased() == "chunked", !request.isHTTP10 else {
                throw HTTPError(400, "unsupported transfer encoding")
            }
            state = .chunkSize
            headBytes = 0
            return false
        }
        guard let first = lengths.first else { return true }
        guard lengths.allSatisfy({ $0 == first }), !first.isEmpty,
            first.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let length = Int(first)
        else { throw HTTPError(400, "bad Content-Length") }
        guard length <= limits.bodyBytesMax else { throw HTTPError(413, "body too large") }
        if length == 0 { return true }
        state = .body(remaining: length)
        return false
    }

    private func chunkSize() throws(HTTPError) -> Int {
        let digits = line.prefix { $0 != 0x3b }  // extensions are ignored
        guard !digits.isEmpty, digits.count <= 8 else { throw HTTPError(400, "bad chunk size") }
        var size = 0
        for character in digits {
            guard let digit = HTTPText.digit(character) else { throw HTTPError(400, "bad chunk size") }
            size = size << 4 | Int(digit)
        }
        guard request.body.count + size <= limits.bodyBytesMax else { throw HTTPError(413, "body too large") }
        return size
    }

    private func isToken(_ character: UInt8) -> Bool {
        switch character {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case 0x21, 0x23...0x27, 0x2a, 0x2b, 0x2d, 0x2e, 0x5e...0x60, 0x7c, 0x7e: true
        default: false
        }
    }
}
