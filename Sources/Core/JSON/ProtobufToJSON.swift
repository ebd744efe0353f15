// An encoded message as JSON, by its descriptor alone.

import Foundations
import Wire

/// How a message looks in JSON.
package enum MessageJSONStyle: Sendable {
    /// The gateway's: proto names, 64-bit integers quoted, enums by name, defaults left out.
    case gateway
    /// As Go prints the generated structs, which `etcdctl -w json` shows: every number bare, a oneof as an object of its
    /// own under its Go name (null when unset), zero and empty left out.
    case goStruct
}

extension JSONWriter {
    /// Writes the message as an object.
    package mutating func message(
        _ bytes: RawSpan, as descriptor: MessageDescriptor, style: MessageJSONStyle = .gateway
    ) throws(WireError) {
        try message(bytes, as: descriptor, style: style, depth: 0)
    }

    package mutating func message<M: WireMessage>(_ message: M, style: MessageJSONStyle = .gateway) {
        do {
            try self.message(message.encoded().rawSpan, as: M.descriptor, style: style)
        } catch {
            unreachable("\(M.descriptor.name) does not read what it wrote: \(error)")
        }
    }

    private mutating func message(
        _ bytes: RawSpan, as descriptor: MessageDescriptor, style: MessageJSONStyle, depth: Int
    ) throws(WireError) {
        guard depth < WireReader.depthMax else { throw .tooDeep }
        let found = try Occurrences(bytes, descriptor)
        beginObject()
        var writtenOneofs: Set<Int> = []
        for (index, field) in descriptor.fields.enumerated() {
            guard style == .goStruct, let oneof = field.oneof else {
                try member(field, found.byField[index], bytes, style, depth)
                continue
            }
            guard writtenOneofs.insert(oneof).inserted else { continue }
            name(goName(descriptor.oneofs[oneof]))
            guard let (index, field) = found.member(of: oneof, in: descriptor) else {
                null()
                continue
            }
            beginObject()
            try member(field, found.byField[index], bytes, style, depth)
            endObject()
        }
        endObject()
    }

    /// One field with its name, or nothing.
    private mutating func member(
        _ field: FieldDescriptor, _ found: [Occurrence], _ bytes: RawSpan, _ style: MessageJSONStyle, _ depth: Int
    ) throws(WireError) {
        guard let last = found.last else { return }
        if field.isRepeated {
            name(field.name)
            beginArray()
            for occurrence in found { try value(occurrence, field, bytes, style, depth) }
            endArray()
            return
        }
        if case .message = field.kind, found.count > 1 {
            // A message in several pieces is the merge of them: the pieces one after the other.
            var whole: Bytes = []
            for case .payload(let range) in found { whole.append(bytes.extracting(range)) }
            name(field.name)
            return try value(.payload(0..<whole.count), field, whole.rawSpan, style, depth)
        }
        if isLeftOut(last, field, style) { return }
        name(field.name)
        try value(last, field, bytes, style, depth)
    }

    private func isLeftOut(_ occurrence: Occurrence, _ field: FieldDescriptor, _ style: MessageJSONStyle) -> Bool {
        if case .message = field.kind { return false }
        // A member of a oneof that is set shows even when it is zero, but not in Go's structs.
        if style == .gateway, field.label == .explicit { return false }
        return switch occurrence {
        case .number(let value): value == 0
        case .payload(let range): range.isEmpty
        }
    }

    private mutating func value(
        _ occurrence: Occurrence, _ field: FieldDescriptor, _ bytes: RawSpan, _ style: MessageJSONStyle, _ depth: Int
    ) throws(WireError) {
        switch (field.kind, occurrence) {
        case (.bool, .number(let value)): bool(value != 0)
        case (.int32, .number(let value)): number(Int32(truncatingIfNeeded: value))
        case (.uint32, .number(let value)): number(UInt32(truncatingIfNeeded: value))
        case (.int64, .number(let value)):
            let signed = Int64(bitPattern: value)
            style == .gateway ? quotedNumber(signed) : number(signed)
        case (.uint64, .number(let value)): style == .gateway ? quotedNumber(value) : number(value)
        case (.enumeration(let values), .number(let value)):
            let value = Int32(truncatingIfNeeded: value)
            if style == .gateway, let name = values.name(of: value) { string(name) } else { number(value) }
        case (.string, .payload(let range)):
            // Checked as decoding the message would.
            guard let text = String(validating: Bytes(bytes.extracting(range)), as: UTF8.self) else {
                throw .invalidUTF8(field: field.number)
            }
            string(text)
        case (.bytes, .payload(let range)): base64(Bytes(bytes.extracting(range)))
        case (.message(let descriptor), .payload(let range)):
            try message(bytes.extracting(range), as: descriptor(), style: style, depth: depth + 1)
        case (_, .number): throw .wrongWireType(field: field.number, wireType: 0)
        case (_, .payload): throw .wrongWireType(field: field.number, wireType: 2)
        }
    }

    /// `target_union` -> `TargetUnion`.
    private func goName(_ oneof: String) -> String {
        oneof.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    }
}

private enum Occurrence {
    case number(UInt64)
    case payload(Range<Int>)
}

/// What the message holds of each field, in order.
private struct Occurrences {
    var byField: [[Occurrence]]
    /// Number of the last field seen of each oneof: the one that is set.
    private var lastOfOneof: [UInt32]

    init(_ bytes: RawSpan, _ descriptor: MessageDescriptor) throws(WireError) {
        byField = Array(repeating: [], count: descriptor.fields.count)
        lastOfOneof = Array(repeating: 0, count: descriptor.oneofs.count)
        var reader = WireReader(bytes)
        while let number = try reader.nextField() {
            guard let index = descriptor.fields.firstIndex(where: { $0.number == number }) else {
                try reader.skip()
                continue
            }
            let field = descriptor.fields[index]
            if field.isNumeric, field.isRepeated, reader.isPayload {
                let range = try reader.payloadRange()
                var packed = WireReader(bytes.extracting(range))
                while let value = try packed.bareNumber() { byField[index].append(.number(value)) }
            } else if field.isNumeric {
                byField[index].append(.number(try reader.number()))
            } else {
                byField[index].append(.payload(try reader.payloadRange()))
            }
            guard let oneof = field.oneof else { continue }
            lastOfOneof[oneof] = number
            for (other, candidate) in descriptor.fields.enumerated()
            where candidate.oneof == oneof && candidate.number != number {
                byField[other] = []
            }
        }
    }

    func member(of oneof: Int, in descriptor: MessageDescriptor) -> (Int, FieldDescriptor)? {
        guard lastOfOneof[oneof] != 0 else { return nil }
        return descriptor.fields.enumerated().first { $0.element.number == lastOfOneof[oneof] }
            .map { ($0.offset, $0.element) }
    }
}

extension FieldDescriptor {
    fileprivate var isNumeric: Bool {
        switch kind {
        case .bool, .int32, .int64, .uint32, .uint64, .enumeration: true
        case .string, .bytes, .message: false
        }
    }
}
