// A log entry's payload without decoding it: who asked, which kind of request, and where its bytes are. Apply decodes the
// body as the kind's own view or message; nothing is copied before.
//
//     let entry = try InternalRaftRequestView(decoding: data)
//     switch entry.kindField {
//     case InternalRaftRequest.KindField.put: let put = try PutRequestView(decoding: entry.body) …

import Foundations

package struct InternalRaftRequestView: ~Escapable {
    package var id: UInt64 = 0
    package var header: RequestHeaderView
    package var hasHeader = false
    /// Field number of the kind that is set, 0 for none: see `InternalRaftRequest.KindField`.
    package var kindField: UInt32 = 0
    /// The encoded request of that kind.
    package var body: RawSpan

    @_lifetime(copy bytes)
    package init(decoding bytes: RawSpan) throws(WireError) {
        header = try RequestHeaderView(decoding: bytes.extracting(first: 0))
        body = bytes.extracting(first: 0)
        var reader = WireReader(bytes)
        while let field = try reader.nextFieldInline() {
            switch field {
            case 1: try reader.read(&id)
            case 100:
                header = try RequestHeaderView(decoding: try reader.borrowInline())
                hasHeader = true
            case _ where InternalRaftRequest.KindField.contains(field):
                kindField = field
                body = try reader.borrowInline()
            default: try reader.skip()
            }
        }
    }

    /// The id answers wait for: the header's, unless field 1 is set.
    package var requestID: UInt64 { id != 0 ? id : header.id }
}

extension InternalRaftRequest {
    /// Field numbers of the kinds.
    package enum KindField {
        package static let v2: UInt32 = 2
        package static let range: UInt32 = 3
        package static let put: UInt32 = 4
        package static let deleteRange: UInt32 = 5
        package static let txn: UInt32 = 6
        package static let compaction: UInt32 = 7
        package static let leaseGrant: UInt32 = 8
        package static let leaseRevoke: UInt32 = 9
        package static let alarm: UInt32 = 10
        package static let leaseCheckpoint: UInt32 = 11

        @inlinable
        package static func contains(_ field: UInt32) -> Bool {
            switch field {
            case 2...11, 1000, 1011...1013, 1100...1107, 1200...1204, 1300...1302, 9900: true
            default: false
            }
        }
    }

    /// Appends an encoded request of one kind as a complete log payload: the fields in ascending order, so kinds below
    /// 100 stand before the header and the others behind it.
    package static func append(
        to buffer: inout [UInt8], header: RequestHeader, kindField: UInt32, body: RawSpan
    ) {
        if kindField < 100 { buffer.appendWire(kindField, message: body) }
        var username = header.username
        username.withUTF8 { username in
            let nameSize = username.isEmpty ? 0 : Varint.payloadFieldSize(2, username.count)
            let size = Varint.fieldSize(1, header.id) + nameSize + Varint.fieldSize(3, header.authRevision)
            buffer.appendWireHeader(100, length: size)
            buffer.appendWire(1, header.id)
            if !username.isEmpty {
                buffer.appendWireHeader(2, length: username.count)
                unsafe buffer.append(contentsOf: username)
            }
            buffer.appendWire(3, header.authRevision)
        }
        if kindField > 100 { buffer.appendWire(kindField, message: body) }
    }
}
