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

    @_lifetime(copy message)
    init(_ message: RawSpan, field: UInt32) {
        self.message = message
        self.field = field
    }

    package var isEmpty: Bool { count == 0 }

    /// The view met one.
    mutating func met(_ reader: inout WireReader) throws(WireError) {
        _ = try reader.borrow()
        count &+= 1
    }

    @_lifetime(copy self)
    package func makeIterator() -> Iterator { Iterator(message, field: field) }

    package struct Iterator: ~Escapable {
        private var reader: WireReader
        private let field: UInt32

        @_lifetime(copy message)
        init(_ message: RawSpan, field: UInt32) {
            reader = WireReader(message)
            self.field = field
        }

        @_lifetime(copy self)
        package mutating func next() -> RawSpan? {
            do {
                while let number = try reader.nextField() {
                    if number == field { return try reader.borrow() }
                    try reader.skip()
                }
                return nil
            } catch {
                unreachable("the view has read these bytes before: \(error)")
            }
        }
    }
}
