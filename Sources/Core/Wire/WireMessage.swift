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
        var bytes: Bytes = []
        append(to: &bytes)
        return bytes
    }

    /// Encodes straight behind what the buffer holds. A message that fits into `WireWriter.scratchSize` takes one pass;
    /// a larger one is counted on the way and then written where it belongs.
    package func append(to buffer: inout Bytes) {
        let size = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: WireWriter.scratchSize) { scratch in
            var writer = unsafe WireWriter(trying: scratch)
            encode(into: &writer)
            guard writer.isComplete else { return writer.count }
            unsafe buffer.append(contentsOf: UnsafeBufferPointer(rebasing: scratch[writer.position...]))
            return 0
        }
        if size > 0 { append(to: &buffer, size: size) }
    }

    /// For callers that have just asked for `encodedSize`, for example to write a length first.
    package func append(to buffer: inout Bytes, size: Int) {
        buffer.append(addingCapacity: size) { output in
            unsafe output.withUnsafeMutableBufferPointer { room, count in
                var writer = unsafe WireWriter(
                    filling: UnsafeMutableBufferPointer(rebasing: room[count..<count + size]))
                encode(into: &writer)
                invariant(writer.position == 0, "\(Self.self): \(writer.position) bytes fewer than counted")
                count += size
            }
        }
    }
}

/// An enumeration on the wire: a number whose known values have names. Unknown numbers survive.
package protocol WireEnum: RawRepresentable, Sendable, Hashable where RawValue == Int32 {
    init(rawValue: Int32)
    static var descriptor: EnumDescriptor { get }
}
