// What every generated message can do. A message is a plain value; decoding copies out of the source, encoding goes into
// one buffer of the right size.
//
//     let request = try PutRequest(decoding: body)
//     var answer = PutResponse(header: header)
//     answer.append(to: &output)

import Foundations

package protocol WireMessage: Sendable, Equatable {
    init()

    /// Reads fields up to the reader's end into this value: the last one of a field wins, messages merge, lists grow.
    mutating func merge(from reader: inout WireReader) throws(WireError)

    /// Writes the fields from the last to the first: see `WireWriter`.
    func encode(into writer: inout WireWriter)

    static var descriptor: MessageDescriptor { get }
}

extension WireMessage {
    package init(decoding bytes: RawSpan) throws(WireError) {
        self.init()
        try merge(decoding: bytes)
    }

    package init(decoding bytes: Bytes) throws(WireError) {
        try self.init(decoding: bytes.rawSpan)
    }

    package mutating func merge(decoding bytes: RawSpan) throws(WireError) {
        var reader = WireReader(bytes)
        try merge(from: &reader)
    }

    /// Exact number of bytes `append` adds.
    package var encodedSize: Int {
        var counter = WireWriter.counting()
        encode(into: &counter)
        return counter.count
    }

    package func encoded() -> Bytes {
        let size = encodedSize
        return unsafe Bytes(unsafeUninitializedCapacity: size) { buffer, count in
            unsafe fill(buffer)
            count = size
        }
    }

    /// Encodes straight behind what the buffer holds.
    package func append(to buffer: inout Bytes) {
        append(to: &buffer, size: encodedSize)
    }

    /// The same for callers that have just asked for `encodedSize`, for example to write a length first.
    package func append(to buffer: inout Bytes, size: Int) {
        let start = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: size))
        unsafe buffer.withUnsafeMutableBufferPointer { all in
            unsafe fill(UnsafeMutableBufferPointer(rebasing: all[start...]))
        }
    }

    private func fill(_ buffer: UnsafeMutableBufferPointer<UInt8>) {
        var writer = unsafe WireWriter(filling: buffer)
        encode(into: &writer)
        invariant(writer.remaining == 0, "\(Self.self): \(writer.remaining) bytes fewer than counted")
    }
}

/// An enumeration on the wire: a number whose known values have names. Unknown numbers survive.
package protocol WireEnum: RawRepresentable, Sendable, Hashable where RawValue == Int32 {
    init(rawValue: Int32)
    static var descriptor: EnumDescriptor { get }
}
