// The checks of a request's head that HTTP/2 asks for and that nghttp2 does not make for us, because its message checks
// are switched off (they cost a quarter of a request). A head that fails them ends its stream with PROTOCOL_ERROR.
//
//   - pseudo-headers first, known ones only, each once; :method, :scheme and :path are there, the path absolute
//   - names in lower case, of token characters; values without NUL, CR, LF
//   - no fields that belong to one HTTP/1 connection; te only with trailers
//   - a body as long as content-length said

import Foundations
import Glibc

/// Names that are looked at, recognised by length and bytes.
@inline(__always)
func named(_ name: RawSpan, _ text: StaticString) -> Bool {
    guard name.byteCount == text.utf8CodeUnitCount else { return false }
    return unsafe name.withUnsafeBytes { bytes in
        guard let start = bytes.baseAddress else { return true }
        return unsafe memcmp(start, text.utf8Start, bytes.count) == 0
    }
}

extension ServerStream {
    mutating func take(_ name: RawSpan, _ value: RawSpan) {
        guard name.byteCount > 0 else {
            malformed = true
            return
        }
        let first = name[byte: 0]
        if headersSeen {  // trailers: looked at only to refuse what must not be there
            if first == 0x3a { malformed = true }
            return
        }
        if first == 0x3a { return takePseudo(name, value) }
        regularSeen = true
        let place = head.append(name, value)
        switch name.byteCount {
        case 2 where named(name, "te"):
            if !named(value, "trailers") { malformed = true }
        case 10 where named(name, "user-agent"), 20 where named(name, "grpc-accept-encoding"): break
        case 12 where named(name, "content-type"):
            contentTypeRange = place
            isGRPC = value.byteCount >= 16 && named(value.extracting(0..<16), "application/grpc")
        case 12 where named(name, "grpc-timeout"): timeoutRange = place
        case 13 where named(name, "grpc-encoding"): encodingRange = place
        case 14 where named(name, "content-length"): takeLength(value)
        case 10 where named(name, "connection") || named(name, "keep-alive"),
            7 where named(name, "upgrade"), 16 where named(name, "proxy-connection"),
            17 where named(name, "transfer-encoding"):
            malformed = true
        default:
            hasMetadata = true
            if !isName(name) || !isValue(value) { malformed = true }
        }
    }

    private mutating func takePseudo(_ name: RawSpan, _ value: RawSpan) {
        if regularSeen { malformed = true }
        let place = head.append(name, value)
        var range = 0..<Int32(0)
        if named(name, ":path") {
            (range, pathRange) = (pathRange, place)
            if !isValue(value) { malformed = true }
        } else if named(name, ":method") {
            (range, methodRange) = (methodRange, place)
            isPost = named(value, "POST")
        } else if named(name, ":scheme") {
            (range, schemeRange) = (schemeRange, place)
        } else if named(name, ":authority") {
            (range, authorityRange) = (authorityRange, place)
            if !isValue(value) { malformed = true }
        } else {
            malformed = true
        }
        if range != 0..<0 { malformed = true }
    }

    private mutating func takeLength(_ value: RawSpan) {
        guard (1...15).contains(value.byteCount), announcedBytes < 0 else {
            malformed = true
            return
        }
        var length = 0
        for i in 0..<value.byteCount {
            guard (0x30...0x39).contains(value[byte: i]) else {
                malformed = true
                return
            }
            length = length * 10 + Int(value[byte: i] - 0x30)
        }
        announcedBytes = length
    }

    /// The head is complete: may it be answered?
    var isHeadAcceptable: Bool {
        if malformed || methodRange.isEmpty || schemeRange.isEmpty || pathRange.isEmpty { return false }
        let path = path
        return path.first == 0x2f || (path.elementsEqual([0x2a]) && method.elementsEqual("OPTIONS".utf8))
    }

    /// The body is as long as it should be, or may still become so.
    func fitsAnnounced(ended: Bool) -> Bool {
        announcedBytes < 0 || (ended ? bodyBytes == announcedBytes : bodyBytes <= announcedBytes)
    }
}

private func isName(_ name: RawSpan) -> Bool {
    for i in 0..<name.byteCount {
        switch name[byte: i] {
        case 0x61...0x7a, 0x30...0x39, 0x2d, 0x5f, 0x2e: continue
        case 0x21, 0x23...0x27, 0x2a, 0x2b, 0x5e, 0x60, 0x7c, 0x7e: continue
        default: return false
        }
    }
    return true
}

private func isValue(_ value: RawSpan) -> Bool {
    for i in 0..<value.byteCount {
        switch value[byte: i] {
        case 0, 0x0a, 0x0d: return false
        default: continue
        }
    }
    return true
}
