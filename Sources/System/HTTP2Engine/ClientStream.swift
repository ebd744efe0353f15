// What a client knows of one HTTP/2 stream.

import Foundations

package struct ClientStream {
    package var streamID: Int32 = 0
    /// Unique in the session; tells a reused slot from the stream that had it before.
    package var serial: UInt64 = 0
    package var isOpen = false

    // Response head. Fields of the head and of the trailers are in one list: a call that fails early has its status in the
    // head.
    package var httpStatus = 0
    package var grpcStatus: [UInt8] = []
    package var grpcMessage: [UInt8] = []
    package var contentType: [UInt8] = []
    package var fields = FieldList()
    var headBytes = 0
    package internal(set) var headSeen = false
    /// The peer has sent everything.
    package internal(set) var remoteEnded = false

    /// Free for the owner.
    package var tag: UInt64 = 0
    package var object: AnyObject?
    /// Bytes of a message that has not arrived whole.
    package var inbound: [UInt8] = []

    // Request body: waits in `outbound` from `outboundStart`.
    package var outbound: [UInt8] = []
    var outboundStart = 0
    /// No more is added to `outbound`.
    package var bodyComplete = false
    var waitsForBody = false

    package var queuedBytes: Int { outbound.count - outboundStart }

    mutating func reset() {
        isOpen = false
        httpStatus = 0
        grpcStatus.removeAll(keepingCapacity: true)
        grpcMessage.removeAll(keepingCapacity: grpcMessage.capacity <= 4096)
        contentType.removeAll(keepingCapacity: true)
        fields.removeAll()
        headBytes = 0
        headSeen = false
        remoteEnded = false
        tag = 0
        object = nil
        inbound.removeAll(keepingCapacity: inbound.capacity <= 4096)
        outbound.removeAll(keepingCapacity: outbound.capacity <= 4096)
        outboundStart = 0
        bodyComplete = false
        waitsForBody = false
    }
}
