// A repeated field of a view: the payloads in order, borrowed from the encoded message. The view has walked over them
// once (so they are well formed as payloads) and counted them; going through them walks the message again, which is
// cheaper than a list.
//
//     var operations = view.success.makeIterator()
//     while let bytes = operations.next() { let operation = try RequestOpView(decoding: bytes) … }

import Foundations

package struct RepeatedPayloads: ~Escapable {
    private let message: RawSpan
    private let field: UInt32
    package private(set) var count = 0
    /// Where the first one lies: a walk begins there and ends with the last.
    private var first = 0..<0

    @_lifetime(copy message)
    init(_ message: RawSpan, field: UInt32) {
        self.message = message
        self.field = field
    }

    package var isEmpty: Bool { count == 0 }

    /// The view, which reads this message, met one.
    mutating func met(_ reader: inout WireReader) throws(WireError) {
        let place = try reader.payloadRange()
        if count == 0 { first = place }
        count &+= 1
    }

    @_lifetime(copy self)
    package func makeIterator() -> Iterator { Iterator(message, field: field, first: first, count: count) }

    package struct Iterator: ~Escapable {
        private let message: RawSpan
        private var reader: WireReader
        private let field: UInt32
        private let first: Range<Int>
        private let count: Int
        private var given = 0

        @_lifetime(copy message)
        init(_ message: RawSpan, field: UInt32, first: Range<Int>, count: Int) {
            self.message = message
            reader = WireReader(message, from: first.upperBound)
            self.field = field
            self.first = first
            self.count = count
        }

        @_lifetime(copy self)
        package mutating func next() -> RawSpan? {
            if given == count { return nil }
            given &+= 1
            if given == 1 { return message.extracting(first) }
            do {
                while let number = try reader.nextField() {
                    if number == field { return try reader.borrow() }
                    try reader.skip()
                }
            } catch {
                unreachable("the view has read these bytes before: \(error)")
            }
            unreachable("the view has counted \(count) of field \(field)")
        }
    }
}
