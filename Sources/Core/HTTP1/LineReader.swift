// Lines of a head, put together from whatever pieces arrive. All checks look at whole lines or at totals, so that the
// answer does not depend on where the pieces were cut.

import Foundations

struct LineReader: Sendable {
    /// The begun line. A line in one piece passes through here too: heads are short, and one path is easier to trust.
    private var line: [UInt8] = []
    /// Bytes of the lines of this head so far.
    private(set) var headBytes = 0

    mutating func startHead() {
        line.removeAll(keepingCapacity: true)
        headBytes = 0
    }

    var isEmpty: Bool { line.isEmpty && headBytes == 0 }

    /// The next line without its CR LF; nil when the piece ends first.
    mutating func next(
        _ bytes: RawSpan, _ position: inout Int, lineMax: Int, headMax: Int
    ) throws(HTTPError) -> [UInt8]? {
        while position < bytes.byteCount {
            let byte = bytes[byte: position]
            position += 1
            line.append(byte)
            if line.count > lineMax { throw .lineTooLong(limit: lineMax) }
            if headBytes + line.count > headMax { throw .headTooLarge(limit: headMax) }
            guard byte == 0x0a else { continue }
            headBytes += line.count
            defer { line.removeAll(keepingCapacity: true) }
            guard line.count >= 2, line[line.count - 2] == 0x0d else { throw .lineEnd }
            let whole = Array(line.dropLast(2))
            if whole.contains(0x0d) { throw .lineEnd }
            return whole
        }
        return nil
    }

    /// A field line taken apart.
    static func field(_ line: [UInt8]) throws(HTTPError) -> HTTPFields.Field {
        if HTTPGrammar.isBlank(line[0]) { throw .foldedField }
        guard let colon = line.firstIndex(of: 0x3a), HTTPGrammar.isToken(line[..<colon]) else { throw .fieldName }
        let value = HTTPGrammar.trimmed(line[(colon + 1)...])
        guard value.allSatisfy(HTTPGrammar.isFieldContent) else { throw .fieldValue }
        return HTTPFields.Field(
            String(decoding: line[..<colon], as: UTF8.self), String(decoding: value, as: UTF8.self))
    }
}
