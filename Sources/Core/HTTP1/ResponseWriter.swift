// HTTP/1.1 answers from the parts handlers give.

import Foundations

package enum ResponseWriter {
    /// Status line and headers, blank line included. With `length` nil the body follows in chunks.
    package static func head(
        status: Int, headers: [(name: String, value: String)], date: String, length: Int?, close: Bool,
        into output: inout [UInt8]
    ) {
        var fields = HTTPFields()
        for (name, value) in headers { fields.append(name, value) }
        fields.append("Date", date)
        if close { fields.append("Connection", "close") }
        let hasBody = status >= 200 && status != 204 && status != 304
        let framing: HTTPFraming = hasBody ? length.map { .length($0) } ?? .chunked : .none
        HTTPWriter.append(HTTPResponseHead(status, fields: fields, framing: framing), to: &output)
    }

    package static func chunk(_ bytes: [UInt8], into output: inout [UInt8]) {
        HTTPWriter.appendChunk(bytes.rawSpan, to: &output)
    }

    package static func lastChunk(into output: inout [UInt8]) { HTTPWriter.appendLastChunk(to: &output) }
}
