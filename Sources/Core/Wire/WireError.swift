// Why bytes are not the message they were said to be. The texts are shown to clients behind
// "grpc: error unmarshalling request: ".

package enum WireError: Error, Equatable, CustomStringConvertible {
    /// A tag, number or length runs past the end.
    case truncated
    /// A number of more than 64 bits.
    case overlongNumber
    /// A length above what the message can hold, or above 2^63.
    case badLength
    /// Field number zero or above 2^29 - 1.
    case badFieldNumber
    /// Wire type 6 or 7.
    case unknownWireType(UInt8)
    /// A known field in a form its type does not have.
    case wrongWireType(field: UInt32, wireType: UInt8)
    /// An end of a group that did not begin, or another's.
    case unmatchedGroup
    /// A string field that is not UTF-8.
    case invalidUTF8(field: UInt32)
    /// Messages or groups inside each other deeper than `WireReader.depthMax`.
    case tooDeep

    package var description: String {
        switch self {
        case .truncated: "unexpected EOF"
        case .overlongNumber: "proto: integer overflow"
        case .badLength: "proto: length out of range"
        case .badFieldNumber: "proto: illegal tag"
        case .unknownWireType(let type): "proto: illegal wireType \(type)"
        case .wrongWireType(let field, let type): "proto: wrong wireType = \(type) for field \(field)"
        case .unmatchedGroup: "proto: unexpected end of group"
        case .invalidUTF8(let field): "proto: field \(field) contains invalid UTF-8"
        case .tooDeep: "proto: messages nested too deep"
        }
    }
}
