// Finds where the next JSON value of a stream ends, so that a body that arrives in pieces is parsed value by value. It only
// counts brackets and strings; whether the value is well formed is the reader's question.
//
//     buffer += chunk
//     while let end = splitter.endOfValue(in: buffer) { parse(buffer[..<end]); buffer.removeFirst(end); … }

import Foundations

package struct JSONSplitter: Sendable {
    private var scanned = 0
    private var depth = 0
    private var inString = false
    private var escaped = false
    private var begun = false

    package init() {}

    /// The end of the first value in the buffer (then drop that much, and ask again), nil when it is not there yet. Bytes
    /// looked at once are not looked at again. A bare number or word ends at a blank, or with the stream (`isLast`).
    package mutating func endOfValue(in buffer: Bytes, isLast: Bool = false) -> Int? {
        while scanned < buffer.count {
            let byte = buffer[scanned]
            if inString {
                scanned += 1
                if escaped {
                    escaped = false
                } else if byte == 0x5c {
                    escaped = true
                } else if byte == 0x22 {
                    inString = false
                    if depth == 0 { return found(scanned) }
                }
                continue
            }
            let isBlank = byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09
            let opens = byte == 0x7b || byte == 0x5b
            if begun, depth == 0, isBlank || opens || byte == 0x22 { return found(scanned) }
            scanned += 1
            if isBlank { continue }
            begun = true
            if byte == 0x22 { inString = true }
            if opens { depth += 1 }
            if byte == 0x7d || byte == 0x5d {
                depth -= 1
                if depth <= 0 { return found(scanned) }
            }
        }
        return isLast && begun ? found(buffer.count) : nil
    }

    private mutating func found(_ end: Int) -> Int {
        self = JSONSplitter()
        return end
    }
}
