// What a server knows of one HTTP/2 stream. Plain structs in slabs: no dictionary, no reference counting and no allocation on
// the way of a unary request once a slot's buffers have grown.

import Foundations

/// Fields are touched only on the session's thread, through `ServerSession.withStream`.
package struct ServerStream {
    package internal(set) var streamID: Int32 = 0
    /// Unique in the session; tells a reused slot from the stream that had it before.
    package internal(set) var serial: UInt64 = 0
    package internal(set) var isOpen = false
    /// The peer has sent everything.
    package internal(set) var remoteEnded = false

    // Request head: all fields in the order of arrival, pseudo-headers too.
    var head = FieldList()
    var places = RequestPlaces()
    /// The head was good and the owner has been told of the request.
    var isStarted = false
    var bodyBytes = 0

    // What the peer may still send, and we. Given back are bytes the owner has dealt with, in one frame when they are many.
    var received: Int32 = 0
    var consumed: Int32 = 0
    /// Below zero when the peer has made its windows smaller meanwhile.
    var sendWindow = 0

    // Where the stream waits for its turn to send, between which others.
    var waits = Waiting.nowhere
    var previous: Int32 = -1
    var next: Int32 = -1

    enum Waiting { case nowhere, forTurn, forConnection }

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
    /// The head of the answer, as long as it has not gone.
    var pendingHead = PendingHead.none
    var headBlock: [UInt8] = []

    enum PendingHead {
        case none
        /// The head of every gRPC answer.
        case grpc
        /// In `headBlock`.
        case block
        /// The same, and it is all of the answer.
        case onlyBlock
    }

    /// What ends the stream behind the body.
    package var trailers: Trailers?
    /// The owner stopped producing at a long queue and wants to be told when it is short.
    package var wantsRoom = false

    package enum Trailers {
        /// grpc-status 0.
        case ok
        case status(code: UInt32, message: String)
        /// No trailers: the body ends the stream (plain HTTP).
        case none
    }

    /// Body bytes not yet handed to the session.
    package var queuedBytes: Int { outbound.count - outboundStart }

    package var isPost: Bool { places.isPost }
    /// The content type is gRPC's.
    package var isGRPC: Bool { places.isGRPC }
    /// Fields came that are not of every call.
    package var hasMetadata: Bool { places.hasMetadata }
    package var hasTimeout: Bool { !places.timeout.isEmpty }

    package var method: ArraySlice<UInt8> { slice(places.method) }
    package var path: ArraySlice<UInt8> { slice(places.path) }
    package var authority: ArraySlice<UInt8> { slice(places.authority) }
    package var contentType: ArraySlice<UInt8> { slice(places.contentType) }
    package var timeout: ArraySlice<UInt8> { slice(places.timeout) }
    package var encoding: ArraySlice<UInt8> { slice(places.encoding) }

    private func slice(_ range: Range<Int32>) -> ArraySlice<UInt8> {
        head.bytes[Int(range.lowerBound)..<Int(range.upperBound)]
    }

    /// The path, borrowed.
    package func withPath<R>(_ body: (RawSpan) -> R) -> R {
        body(head.bytes.rawSpan.extracting(Int(places.path.lowerBound)..<Int(places.path.upperBound)))
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

    /// The body is as long as it should be, or may still become so.
    func fitsAnnounced(ended: Bool) -> Bool {
        places.announcedBytes < 0 || (ended ? bodyBytes == places.announcedBytes : bodyBytes <= places.announcedBytes)
    }

    /// Ready for another stream; small buffers stay, large ones go. (The head is overwritten by the next one.)
    mutating func reset() {
        isOpen = false
        remoteEnded = false
        isStarted = false
        if head.bytes.count > 4096 { head = FieldList() }
        bodyBytes = 0
        received = 0
        consumed = 0
        route = -1
        tag = 0
        deadline = 0
        if object != nil { object = nil }
        if !inbound.isEmpty { inbound.removeAll(keepingCapacity: inbound.capacity <= 4096) }
        if !outbound.isEmpty { outbound.removeAll(keepingCapacity: outbound.capacity <= 4096) }
        outboundStart = 0
        counted = 0
        headSent = false
        pendingHead = .none
        if !headBlock.isEmpty { headBlock.removeAll(keepingCapacity: headBlock.capacity <= 4096) }
        if trailers != nil { trailers = nil }
        wantsRoom = false
    }
}
