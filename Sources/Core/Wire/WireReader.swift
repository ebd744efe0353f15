// Reads protobuf fields from bytes nobody trusts: every length is checked against what is left, numbers against 64 bits,
// nesting against `depthMax`. Generated code asks for the next field and hands the place for its value:
//
//     while let field = try reader.nextField() {
//         switch field {
//         case 1: try reader.read(&key)
//         default: try reader.skip()
//         }
//     }
//
// The readers are not inlined: a hundred messages share them (inlined they cost minutes of compile time).

import Foundations

package struct WireReader: ~Escapable {
    /// Nested transactions are the deepest legal input, and the server refuses them far below this.
    package static let depthMax = 200

    private let bytes: RawSpan
    private(set) var position = 0
    private var end: Int
    private var depth = 0
    /// The field last returned by `nextField`.
    private var field: UInt32 = 0
    private var wireType: UInt8 = 0

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) {
        self.bytes = bytes
        end = bytes.byteCount
    }

    /// From the middle of a message, where a field begins.
    @_lifetime(copy bytes)
    init(_ bytes: RawSpan, from position: Int) {
        self.init(bytes)
        self.position = position
    }

    /// The number of the next field, nil at the end of the message.
    @inline(never)
    package mutating func nextField() throws(WireError) -> UInt32? { try nextFieldInline() }

    /// The same for views, which are few and hot.
    @inline(__always)
    mutating func nextFieldInline() throws(WireError) -> UInt32? {
        if position == end { return nil }
        var tag = UInt64(unsafe bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self))
        if tag < 0x80 { position &+= 1 } else { tag = try longVarint() }
        let number = tag >> 3
        guard number > 0, number < 1 << 29 else { throw .badFieldNumber }
        field = UInt32(truncatingIfNeeded: number)
        wireType = UInt8(truncatingIfNeeded: tag & 7)
        return field
    }

    // MARK: values

    package mutating func read(_ value: inout UInt64) throws(WireError) { value = try number() }
    package mutating func read(_ value: inout Int64) throws(WireError) { value = Int64(bitPattern: try number()) }
    package mutating func read(_ value: inout UInt32) throws(WireError) {
        value = UInt32(truncatingIfNeeded: try number())
    }
    package mutating func read(_ value: inout Int32) throws(WireError) {
        value = Int32(truncatingIfNeeded: try number())
    }
    package mutating func read(_ value: inout Bool) throws(WireError) { value = try number() != 0 }
    package mutating func read<E: WireEnum>(_ value: inout E) throws(WireError) {
        value = E(rawValue: Int32(truncatingIfNeeded: try number()))
    }

    package mutating func read(_ value: inout Bool?) throws(WireError) { value = try number() != 0 }

    @inline(never)
    package mutating func read(_ value: inout Bytes) throws(WireError) {
        let range = try payload()
        value = Bytes(bytes.extracting(range))
    }

    @inline(never)
    package mutating func read(_ value: inout Bytes?) throws(WireError) {
        let range = try payload()
        value = Bytes(bytes.extracting(range))
    }

    @inline(never)
    package mutating func read(_ value: inout String) throws(WireError) {
        let range = try payload()
        value = try text(range)
    }

    /// The payload of a length-delimited field, borrowed.
    @inline(never)
    @_lifetime(copy self)
    package mutating func borrow() throws(WireError) -> RawSpan { try borrowInline() }

    /// The same for views.
    @inline(__always)
    @_lifetime(copy self)
    mutating func borrowInline() throws(WireError) -> RawSpan {
        let range = try payload()
        return unsafe bytes.extracting(unchecked: range)
    }

    /// Where the payload of a length-delimited field lies in the source.
    package mutating func payloadRange() throws(WireError) -> Range<Int> { try payload() }

    /// The current field is length-delimited.
    package var isPayload: Bool { wireType == 2 }

    // MARK: messages

    @inline(never)
    package mutating func read<M: WireMessage>(_ value: inout M) throws(WireError) {
        let outerEnd = try enter()
        try value.merge(from: &self)
        leave(to: outerEnd)
    }

    @inline(never)
    package mutating func read<M: WireMessage>(_ value: inout M?) throws(WireError) {
        var message = value.take() ?? M()
        try read(&message)
        value = message
    }

    // MARK: lists

    @inline(never)
    package mutating func read<M: WireMessage>(_ list: inout [M]) throws(WireError) {
        var message = M()
        try read(&message)
        list.append(message)
    }

    @inline(never)
    package mutating func read(_ list: inout [Bytes]) throws(WireError) {
        let range = try payload()
        list.append(Bytes(bytes.extracting(range)))
    }

    @inline(never)
    package mutating func read(_ list: inout [String]) throws(WireError) {
        let range = try payload()
        list.append(try text(range))
    }

    /// Packed or not, whatever the schema says.
    @inline(never)
    package mutating func read(_ list: inout [UInt64]) throws(WireError) {
        guard wireType == 2 else {
            list.append(try number())
            return
        }
        let outerEnd = try enter()
        while position < end { list.append(try varint()) }
        leave(to: outerEnd)
    }

    @inline(never)
    package mutating func read<E: WireEnum>(_ list: inout [E]) throws(WireError) {
        guard wireType == 2 else {
            list.append(E(rawValue: Int32(truncatingIfNeeded: try number())))
            return
        }
        let outerEnd = try enter()
        while position < end { list.append(E(rawValue: Int32(truncatingIfNeeded: try varint()))) }
        leave(to: outerEnd)
    }

    // MARK: fields nobody knows

    /// Passes over the current field, groups included.
    @inline(never)
    package mutating func skip() throws(WireError) {
        switch wireType {
        case 0: _ = try varint()
        case 1: try advance(8)
        case 2: _ = try payload()
        case 3: try skipGroup(field)
        case 4: throw .unmatchedGroup
        case 5: try advance(4)
        default: throw .unknownWireType(wireType)
        }
    }

    private mutating func skipGroup(_ number: UInt32) throws(WireError) {
        guard depth < WireReader.depthMax else { throw .tooDeep }
        depth &+= 1
        while let inner = try nextField() {
            if wireType == 4 {
                guard inner == number else { throw .unmatchedGroup }
                depth &-= 1
                return
            }
            try skip()
        }
        throw .truncated
    }

    // MARK: primitives

    /// The varint of the current field.
    @inline(never)
    package mutating func number() throws(WireError) -> UInt64 {
        guard wireType == 0 else { throw .wrongWireType(field: field, wireType: wireType) }
        return try varint()
    }

    /// A number without a tag, as packed lists hold them; nil at the end.
    package mutating func bareNumber() throws(WireError) -> UInt64? {
        position == end ? nil : try varint()
    }

    @inline(__always)
    private mutating func varint() throws(WireError) -> UInt64 {
        guard position < end else { throw .truncated }
        let byte = unsafe bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)
        if byte < 0x80 {
            position &+= 1
            return UInt64(byte)
        }
        return try longVarint()
    }

    @inline(never)
    private mutating func longVarint() throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end {
            let byte = unsafe bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)
            position &+= 1
            if shift == 63, byte > 1 { throw .overlongNumber }
            value |= UInt64(byte & 0x7f) &<< shift
            if byte < 0x80 { return value }
            shift &+= 7
        }
        throw .truncated
    }

    /// Where the payload of the current length-delimited field lies; moves past it.
    @inline(__always)
    private mutating func payload() throws(WireError) -> Range<Int> {
        guard wireType == 2 else { throw .wrongWireType(field: field, wireType: wireType) }
        let length = try varint()
        let left = UInt64(truncatingIfNeeded: end &- position)
        guard length <= left else { throw length > UInt64(Int64.max) ? .badLength : .truncated }
        let start = position
        position &+= Int(truncatingIfNeeded: length)
        return unsafe Range(uncheckedBounds: (start, position))
    }

    /// Narrows the reader to the payload; returns what `leave` needs.
    private mutating func enter() throws(WireError) -> Int {
        guard depth < WireReader.depthMax else { throw .tooDeep }
        let range = try payload()
        let outerEnd = end
        position = range.lowerBound
        end = range.upperBound
        depth &+= 1
        return outerEnd
    }

    private mutating func leave(to outerEnd: Int) {
        position = end
        end = outerEnd
        depth &-= 1
    }

    private mutating func advance(_ count: Int) throws(WireError) {
        guard end &- position >= count else { throw .truncated }
        position &+= count
    }

    private func text(_ range: Range<Int>) throws(WireError) -> String {
        let view = bytes.extracting(range)
        let text = unsafe view.withUnsafeBytes { unsafe String(validating: $0, as: UTF8.self) }
        guard let text else { throw .invalidUTF8(field: field) }
        return text
    }
}
