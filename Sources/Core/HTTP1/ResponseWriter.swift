// HTTP/1.1 answers as bytes.

import Foundations

package enum ResponseWriter {
    /// Status line and headers, blank line included. With `length` nil the body follows in chunks.
    package static func head(
        status: Int, headers: [(name: String, value: String)], length: Int?, close: Bool, into output: inout [UInt8]
    ) {
        func add(_ text: String) { output.append(contentsOf: text.utf8) }
        add("HTTP/1.1 \(status) \(HTTPText.reason(status))\r\n")
        for (name, value) in headers { add("\(name): \(value)\r\n") }
        if status != 101 && status != 204 && status != 304 {
            if let length { add("Content-Length: \(length)\r\n") } else { add("Transfer-Encoding: chunked\r\n") }
        }
        if close { add("Connection: close\r\n") }
        add("\r\n")
    }

    package static func chunk(_ bytes: [UInt8], into output: inout [UInt8]) {
        guard !bytes.isEmpty else { return }
        output.append(contentsOf: String(bytes.count, radix: 16).utf8)
        output.append(contentsOf: [0x0d, 0x0a])
        output.append(contentsOf: bytes)
        output.append(contentsOf: [0x0d, 0x0a])
    }

    package static func lastChunk(into output: inout [UInt8]) { output.append(contentsOf: "0\r\n\r\n".utf8) }
}
