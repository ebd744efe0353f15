// The checks of a request's head that HTTP/2 asks for. A head that fails them ends its stream with PROTOCOL_ERROR.
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

/// What a server looks at in a request's head: where the values lie in the list of its fields, and what they mean.
struct RequestPlaces: Sendable {
    var method: Range<Int32> = 0..<0
    var path: Range<Int32> = 0..<0
    var scheme: Range<Int32> = 0..<0
    var authority: Range<Int32> = 0..<0
    var contentType: Range<Int32> = 0..<0
    var timeout: Range<Int32> = 0..<0
    var encoding: Range<Int32> = 0..<0
    var regularSeen = false
    var malformed = false
    /// Fields came that are not of every call.
    var hasMetadata = false
    var isPost = false
    /// The content type is gRPC's.
    var isGRPC = false
    /// As content-length says; -1 without.
    var announcedBytes = -1

    init() {}

    /// Reads a whole head.
    init(_ fields: FieldList) {
        let bytes = fields.bytes.rawSpan
        var at = 0
        while at < bytes.byteCount {
            let name = at + FieldList.headerBytes
            let value = name + FieldList.word(bytes, at)
            let end = value + FieldList.word(bytes, at + 4)
            take(
                bytes.extracting(name..<value), bytes.extracting(value..<end),
                Int32(truncatingIfNeeded: value)..<Int32(truncatingIfNeeded: end))
            at = end
        }
        let path = bytes.extracting(Int(path.lowerBound)..<Int(path.upperBound))
        let method = bytes.extracting(Int(method.lowerBound)..<Int(method.upperBound))
        if method.isEmpty || scheme.isEmpty || path.isEmpty {
            malformed = true
        } else if path[byte: 0] != 0x2f && !(named(path, "*") && named(method, "OPTIONS")) {
            malformed = true
        }
    }

    private mutating func take(_ name: RawSpan, _ value: RawSpan, _ place: Range<Int32>) {
        guard name.byteCount > 0 else {
            malformed = true
            return
        }
        if name[byte: 0] == 0x3a { return takePseudo(name, value, place) }
        regularSeen = true
        switch name.byteCount {
        case 2 where named(name, "te"):
            if !named(value, "trailers") { malformed = true }
        case 10 where named(name, "user-agent"), 20 where named(name, "grpc-accept-encoding"): break
        case 12 where named(name, "content-type"):
            contentType = place
            isGRPC = value.byteCount >= 16 && named(value.extracting(0..<16), "application/grpc")
        case 12 where named(name, "grpc-timeout"): timeout = place
        case 13 where named(name, "grpc-encoding"): encoding = place
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

    private mutating func takePseudo(_ name: RawSpan, _ value: RawSpan, _ place: Range<Int32>) {
        if regularSeen { malformed = true }
        var range = 0..<Int32(0)
        if named(name, ":path") {
            (range, path) = (path, place)
            if !isValue(value) { malformed = true }
        } else if named(name, ":method") {
            (range, method) = (method, place)
            isPost = named(value, "POST")
        } else if named(name, ":scheme") {
            (range, scheme) = (scheme, place)
        } else if named(name, ":authority") {
            (range, authority) = (authority, place)
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
}

extension FieldList {
    /// Fields that may follow a body: named, and none with a colon before its name.
    var areTrailers: Bool {
        var isGood = true
        forEach { name, _ in if name.isEmpty || name.first == 0x3a { isGood = false } }
        return isGood
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
