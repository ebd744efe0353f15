// Why bytes from another member are no message. The connection they came on is dropped, except where noted.

import Wire

package enum PeerWireError: Error, Equatable, CustomStringConvertible {
    case malformed(WireError)
    /// A kind of message that never travels, or that we do not know. The frame is whole: a stream may go on.
    case foreignKind(UInt64)
    case entryKind(UInt64)
    /// The entries of an append do not follow each other, or one is from a later term than the message.
    case entryOrder
    /// A snapshot message without a snapshot.
    case snapshotMissing
    /// A msgapp frame of a type that does not exist.
    case frameType(UInt8)
    /// A full message in a msgapp stream that is no append.
    case notAnAppend
    case tooLarge(UInt64, limit: Int)

    package var description: String {
        switch self {
        case .malformed(let error): "\(error)"
        case .foreignKind(let kind): "message of type \(kind), which does not travel"
        case .entryKind(let kind): "entry of unknown type \(kind)"
        case .entryOrder: "entries do not follow each other"
        case .snapshotMissing: "snapshot message without a snapshot"
        case .frameType(let type): "frame of unknown type \(type)"
        case .notAnAppend: "a message that is no append in an append stream"
        case .tooLarge(let size, let limit): "\(size) bytes are announced, at most \(limit) are taken"
        }
    }
}
