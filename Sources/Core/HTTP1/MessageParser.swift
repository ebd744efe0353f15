// What request and response parsing share: start line, fields, blank line, body, and then the next message.
// The caller pulls events out of the bytes it has; after `end` it may stop pulling until it has answered, which is how
// pipelined requests wait.

import Foundations

struct MessageParser: Sendable {
    private enum State: Sendable {
        case startLine
        case fields
        /// The head was handed over; the body's rules are known.
        case body(BodyDecoder)
    }

    enum Event: Equatable {
        case head(startLine: [UInt8], HTTPFields)
        case content(Range<Int>)
        case end(HTTPFields)
    }

    private var state = State.startLine
    private var lines = LineReader()
    private var startLine: [UInt8] = []
    private var fields = HTTPFields()

    /// No byte of a message has been taken since the last one ended.
    var isBetweenMessages: Bool {
        if case .startLine = state { return lines.isEmpty }
        return false
    }

    mutating func next(_ bytes: RawSpan, _ position: inout Int, _ limits: HTTPLimits) throws(HTTPError) -> Event? {
        while true {
            switch state {
            case .body(var decoder):
                let event = try decoder.next(bytes, &position, limits)
                switch event {
                case nil:
                    state = .body(decoder)
                    return nil
                case .content(let range):
                    state = .body(decoder)
                    return .content(range)
                case .end(let trailers):
                    reset()
                    return .end(trailers)
                }
            case .startLine, .fields:
                guard
                    let line = try lines.next(
                        bytes, &position, lineMax: limits.lineBytesMax, headMax: limits.headBytesMax)
                else { return nil }
                if try take(line, limits) { return .head(startLine: startLine, fields) }
            }
        }
    }

    /// After `head`: how the body ends.
    mutating func startBody(_ framing: HTTPFraming) { state = .body(BodyDecoder(framing)) }

    /// The body ends here, without an event (1xx responses, upgrades).
    mutating func skipBody() { reset() }

    /// The connection ended. True when that ends a body properly; false between messages.
    mutating func finish() throws(HTTPError) -> Bool {
        if isBetweenMessages { return false }
        guard case .body(let decoder) = state, decoder.endsWithConnection else { throw .truncated }
        reset()
        return true
    }

    /// True when the line was the blank one that ends the head.
    private mutating func take(_ line: [UInt8], _ limits: HTTPLimits) throws(HTTPError) -> Bool {
        if case .startLine = state {
            // Some clients send an empty line after a body; the head's bound bounds them.
            if line.isEmpty { return false }
            startLine = line
            state = .fields
            return false
        }
        if line.isEmpty { return true }
        let field = try LineReader.field(line)
        guard fields.count < limits.fieldsMax else { throw .tooManyFields(limit: limits.fieldsMax) }
        fields.append(field.name, field.value)
        return false
    }

    private mutating func reset() {
        state = .startLine
        lines.startHead()
        startLine = []
        fields = HTTPFields()
    }

    // MARK: Facts of a head

    /// `HTTP/1.0` or `HTTP/1.1`. A name that is no version is `malformed`.
    static func version(_ text: ArraySlice<UInt8>, malformed: HTTPError) throws(HTTPError) -> HTTPVersion {
        let prefix = Array("HTTP/".utf8)
        guard text.count == 8, text.starts(with: prefix) else { throw malformed }
        let digits = Array(text.dropFirst(5))
        guard digits[1] == 0x2e, (0x30...0x39).contains(digits[0]), (0x30...0x39).contains(digits[2]) else {
            throw malformed
        }
        guard digits[0] == 0x31, digits[2] <= 0x31 else { throw .version }
        return digits[2] == 0x31 ? .http11 : .http10
    }

    /// Nil when the head announces neither a length nor chunks. Anything two readers could understand differently is
    /// refused: that is what request smuggling lives on.
    static func framing(_ version: HTTPVersion, _ fields: HTTPFields) throws(HTTPError) -> HTTPFraming? {
        let encodings = fields.values("transfer-encoding")
        let lengths = fields.values("content-length")
        if !encodings.isEmpty {
            guard lengths.isEmpty else { throw .twoLengths }
            guard version == .http11, encodings.count == 1, HTTPGrammar.sameName(encodings[0], "chunked") else {
                throw .transferEncoding
            }
            return .chunked
        }
        guard let text = lengths.first else { return nil }
        let digits = Array(text.utf8)
        guard lengths.count == 1, !digits.isEmpty, digits.count <= 18,
            digits.allSatisfy({ (0x30...0x39).contains($0) })
        else { throw .contentLength }
        return .length(digits.reduce(0) { $0 * 10 + Int($1 - 0x30) })
    }
}
