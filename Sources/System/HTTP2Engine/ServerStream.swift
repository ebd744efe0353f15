// What a server knows of one HTTP/2 stream. Plain structs in slabs, reached through nghttp2's stream user data: no
// dictionary, no reference counting and no allocation on the way of a unary request once a slot's buffers have grown.

import Foundations

/// Fields are touched only on the session's thread, through `ServerSession.streams`.
package struct ServerStream {
    package var streamID: Int32 = 0
    /// Unique in the session; tells a reused slot from the stream that had it before.
    package var serial: UInt64 = 0
    package var isOpen = false
    /// The peer will send no more.
    package var remoteEnded = false

    // Request head.
    package var method: [UInt8] = []
    package var path: [UInt8] = []
    package var authority: [UInt8] = []
    package var contentType: [UInt8] = []
    package var timeout: [UInt8] = []
    package var encoding: [UInt8] = []
    /// Every other field: name length, value length (4 bytes each, little-endian), name, value.
    package var fields: [UInt8] = []
    var headBytes = 0
    var headersSeen = false

    /// Free for the owner: which handler, where it is in its work.
    package var route: Int32 = -1
    package var tag: UInt64 = 0
    package var object: AnyObject?

    /// Bytes of a message that has not arrived whole.
    package var inbound: [UInt8] = []

    // Response. Body bytes wait in `outbound` from `outboundStart`.
    package var outbound: [UInt8] = []
    var outboundStart = 0
    package var headSent = false
    /// What ends the stream behind the body.
    package var trailers: Trailers?
    var bodyDone = false
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

    /// The value of a request field, by lower-case name.
    package func field(_ name: StaticString) -> [UInt8]? {
        var found: [UInt8]?
        forEachField { key, value in
            if found == nil, key.count == name.utf8CodeUnitCount, name.withUTF8Buffer({ unsafe $0.elementsEqual(key) })
            {
                found = Array(value)
            }
        }
        return found
    }

    package func forEachField(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        var at = 0
        while at + 8 <= fields.count {
            let name = length(at), value = length(at + 4)
            body(fields[(at + 8)..<(at + 8 + name)], fields[(at + 8 + name)..<(at + 8 + name + value)])
            at += 8 + name + value
        }
    }

    private func length(_ at: Int) -> Int {
        Int(fields[at]) | Int(fields[at + 1]) << 8 | Int(fields[at + 2]) << 16 | Int(fields[at + 3]) << 24
    }

    /// Ready for another stream; small buffers stay, large ones go.
    mutating func reset() {
        isOpen = false
        remoteEnded = false
        method.removeAll(keepingCapacity: true)
        path.removeAll(keepingCapacity: true)
        authority.removeAll(keepingCapacity: true)
        contentType.removeAll(keepingCapacity: true)
        timeout.removeAll(keepingCapacity: true)
        encoding.removeAll(keepingCapacity: true)
        fields.removeAll(keepingCapacity: true)
        headBytes = 0
        headersSeen = false
        route = -1
        tag = 0
        object = nil
        inbound.removeAll(keepingCapacity: inbound.capacity <= 4096)
        outbound.removeAll(keepingCapacity: outbound.capacity <= 4096)
        outboundStart = 0
        headSent = false
        trailers = nil
        bodyDone = false
        waitsForBody = false
    }
}
