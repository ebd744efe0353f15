// The body of one message: finds the pieces of content in the stream and the trailers after them. Content is handed over
// as ranges of the caller's bytes; nothing is copied.
//
//   length      content... end
//   untilClose  content... (end by `finish`)
//   chunked     size line -> content -> CR LF -> size line ... -> 0 -> trailer lines -> end

import Foundations

enum BodyEvent: Equatable {
    case content(Range<Int>)
    case end(HTTPFields)
}

struct BodyDecoder: Sendable {
    private enum State: Sendable {
        case length(rest: Int)
        case untilClose
        case chunkSize
        case chunk(rest: Int)
        case chunkEnd
        case trailers
    }

    private var state: State
    private var lines = LineReader()
    private var trailers = HTTPFields()
    private var total = 0

    init(_ framing: HTTPFraming) {
        switch framing {
        case .none: state = .length(rest: 0)
        case .length(let count): state = .length(rest: count)
        case .chunked: state = .chunkSize
        case .untilClose: state = .untilClose
        }
    }

    /// The end of the connection ends this body.
    var endsWithConnection: Bool {
        if case .untilClose = state { return true }
        return false
    }

    mutating func next(
        _ bytes: RawSpan, _ position: inout Int, _ limits: HTTPLimits
    ) throws(HTTPError) -> BodyEvent? {
        while true {
            switch state {
            case .length(let rest):
                if total == 0 && rest > limits.bodyBytesMax { throw .bodyTooLarge(limit: limits.bodyBytesMax) }
                if rest == 0 { return .end([]) }
                guard let range = try take(rest, bytes, &position, limits) else { return nil }
                state = .length(rest: rest - range.count)
                return .content(range)
            case .untilClose:
                return try take(.max, bytes, &position, limits).map { .content($0) }
            case .chunkSize:
                guard let size = try chunkSize(bytes, &position, limits) else { return nil }
                if size > limits.bodyBytesMax - total { throw .bodyTooLarge(limit: limits.bodyBytesMax) }
                lines.startHead()
                state = size == 0 ? .trailers : .chunk(rest: size)
            case .chunk(let rest):
                guard let range = try take(rest, bytes, &position, limits) else { return nil }
                state = rest == range.count ? .chunkEnd : .chunk(rest: rest - range.count)
                return .content(range)
            case .chunkEnd:
                guard let line = try chunkLine(bytes, &position, limits: 2) else { return nil }
                guard line.isEmpty else { throw .chunk }
                state = .chunkSize
            case .trailers:
                guard
                    let line = try lines.next(
                        bytes, &position, lineMax: limits.lineBytesMax, headMax: limits.headBytesMax)
                else { return nil }
                if line.isEmpty { return .end(trailers) }
                try addTrailer(line, limits)
            }
        }
    }

    private mutating func take(
        _ count: Int, _ bytes: RawSpan, _ position: inout Int, _ limits: HTTPLimits
    ) throws(HTTPError) -> Range<Int>? {
        let available = min(count, bytes.byteCount - position)
        guard available > 0 else { return nil }
        if available > limits.bodyBytesMax - total { throw .bodyTooLarge(limit: limits.bodyBytesMax) }
        total += available
        defer { position += available }
        return position..<position + available
    }

    /// A line of the chunked coding; every fault in it is the same error, since all mean that we have lost our place.
    private mutating func chunkLine(
        _ bytes: RawSpan, _ position: inout Int, limits lineMax: Int
    ) throws(HTTPError) -> [UInt8]? {
        do {
            return try lines.next(bytes, &position, lineMax: lineMax, headMax: .max)
        } catch { throw .chunk }
    }

    /// Hexadecimal digits, then nothing or an extension, which is skipped.
    private mutating func chunkSize(
        _ bytes: RawSpan, _ position: inout Int, _ limits: HTTPLimits
    ) throws(HTTPError) -> Int? {
        guard let line = try chunkLine(bytes, &position, limits: limits.chunkLineBytesMax) else { return nil }
        let digits = line.prefix { Self.hexValue($0) != nil }
        guard !digits.isEmpty, digits.count <= 15 else { throw .chunk }
        let rest = line[digits.count...].drop(while: HTTPGrammar.isBlank)
        if rest.isEmpty {
            guard digits.count == line.count else { throw .chunk }  // blanks and nothing after them
        } else {
            guard rest.first == 0x3b, rest.allSatisfy(HTTPGrammar.isFieldContent) else { throw .chunk }
        }
        return digits.reduce(0) { $0 << 4 | Int(Self.hexValue($1) ?? 0) }
    }

    private mutating func addTrailer(_ line: [UInt8], _ limits: HTTPLimits) throws(HTTPError) {
        let field = try LineReader.field(line)
        for forbidden in ["content-length", "transfer-encoding", "host", "connection", "trailer"]
        where HTTPGrammar.sameName(field.name, forbidden) { throw .trailer }
        guard trailers.count < limits.fieldsMax else { throw .tooManyFields(limit: limits.fieldsMax) }
        trailers.append(field.name, field.value)
    }

    static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
