// What a server knows of one HTTP/2 stream. Plain structs in slabs, reached through nghttp2's stream user data: no
// dictionary, no reference counting and no allocation on the way of a unary request once a slot's buffers have grown.

import Foundations

/// Fields are touched only on the session's thread, through `ServerSession.withStream`.
package struct ServerStream {
    package internal(set) var streamID: Int32 = 0
    /// Unique in the session; tells a reused slot from the stream that had it before.
    package internal(set) var serial: UInt64 = 0
    package internal(set) var isOpen = false
    /// The peer has sent everything.
    package internal(set) var remoteEnded = false

    // Request head. All fields in the order of arrival, pseudo-headers too; of those a server looks at, the places of the
    // values.
    var head = FieldList()
    var methodRange: Range<Int32> = 0..<0
    var pathRange: Range<Int32> = 0..<0
    var schemeRange: Range<Int32> = 0..<0
    var authorityRange: Range<Int32> = 0..<0
    var contentTypeRange: Range<Int32> = 0..<0
    var timeoutRange: Range<Int32> = 0..<0
    var encodingRange: Range<Int32> = 0..<0
    var headBytes = 0
    var headersSeen = false
    var regularSeen = false
    var malformed = false
    /// Fields came that are not of every call.
    package internal(set) var hasMetadata = false
    package internal(set) var isPost = false
    /// The content type is gRPC's.
    package internal(set) var isGRPC = false
    /// As announced by content-length, and what came of it; -1 without.
    var announcedBytes = -1
    var bodyBytes = 0

    /// Free for the owner: which handler, where it is in its work, until when.
    package var route: Int32 = -1
    package var tag: UInt64 = 0
    package var deadline: UInt64 = 0
    package var object: AnyObject?

    /// Bytes of a message that has not arrived whole.
    package var inbound: [UInt8] = []

    // Response. Body bytes wait in `outbound` from `outboundStart`.
    package var outbound: [UInt8] = []
    var outboundStart = 0
    /// How much of the queue the session has counted.
    var counted = 0
    package internal(set) var headSent = false
    /// What ends the stream behind the body.
    package var trailers: Trailers?
    /// The owner stopped producing at a long queue and wants to be told when it is short.
    package var wantsRoom = false
    var waitsForBody = false

    package enum Trailers {
        /// grpc-status 0.
        case ok
        case status(code: UInt32, message: String)
        /// No trailers: the body ends the stream (plain HTTP).
        case none
    }

    /// Body bytes not yet handed to the session.
    package var queuedBytes: Int { outbound.count - outboundStart }

    package var method: ArraySlice<UInt8> { slice(methodRange) }
    package var path: ArraySlice<UInt8> { slice(pathRange) }
    package var authority: ArraySlice<UInt8> { slice(authorityRange) }
    package var contentType: ArraySlice<UInt8> { slice(contentTypeRange) }
    package var timeout: ArraySlice<UInt8> { slice(timeoutRange) }
    package var encoding: ArraySlice<UInt8> { slice(encodingRange) }

    private func slice(_ range: Range<Int32>) -> ArraySlice<UInt8> {
        head.bytes[Int(range.lowerBound)..<Int(range.upperBound)]
    }

    /// The path, borrowed.
    package func withPath<R>(_ body: (RawSpan) -> R) -> R {
        body(head.bytes.rawSpan.extracting(Int(pathRange.lowerBound)..<Int(pathRange.upperBound)))
    }

    /// The value of a request field, by lower-case name.
    package func field(_ name: StaticString) -> [UInt8]? { head[name] }

    package func hasField(_ name: StaticString, _ value: [UInt8]) -> Bool { head.has(name, value) }

    /// All fields but the pseudo-headers.
    package func forEachField(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        head.forEach { name, value in
            if name.first != 0x3a { body(name, value) }
        }
    }

    /// Ready for another stream; small buffers stay, large ones go.
    mutating func reset() {
        isOpen = false
        remoteEnded = false
        head.removeAll()
        methodRange = 0..<0
        pathRange = 0..<0
        schemeRange = 0..<0
        authorityRange = 0..<0
        contentTypeRange = 0..<0
        timeoutRange = 0..<0
        encodingRange = 0..<0
        headBytes = 0
        headersSeen = false
        regularSeen = false
        malformed = false
        hasMetadata = false
        isPost = false
        isGRPC = false
        announcedBytes = -1
        bodyBytes = 0
        route = -1
        tag = 0
        deadline = 0
        object = nil
        if !inbound.isEmpty { inbound.removeAll(keepingCapacity: inbound.capacity <= 4096) }
        if !outbound.isEmpty { outbound.removeAll(keepingCapacity: outbound.capacity <= 4096) }
        outboundStart = 0
        counted = 0
        headSent = false
        trailers = nil
        wantsRoom = false
        waitsForBody = false
    }
}
