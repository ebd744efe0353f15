// Header compression as RFC 7541 has it, the receiving half: a block becomes a list of fields, and the table of the
// connection changes on the way. Whatever is wrong with a block ends the connection, because the tables of both sides may
// differ from there on. A list that is too long does not: the block is read to its end for the table's sake, and what does
// not fit is left out.

import Foundations

package enum HeaderDamage: Error, Equatable {
    /// The block ends inside a field.
    case truncated
    case numberTooLarge
    /// There is no field with this number.
    case index(Int)
    case huffman
    /// A table larger than we allow.
    case tableSize(Int)
    /// The size of the table changes only at the start of a block.
    case misplacedTableSize
}

package struct HeaderDecoder {
    package private(set) var table: HeaderTable

    package init(tableBytesMax: Int = 4096) { table = HeaderTable(limit: tableBytesMax) }

    /// Appends the fields of a whole block. False when they are more than `bytesMax`, counted as in the table; `fields` is
    /// incomplete then.
    package mutating func decode(
        _ block: RawSpan, into fields: inout FieldList, bytesMax: Int
    ) throws(HeaderDamage) -> Bool {
        var at = 0
        var left = bytesMax
        var isFirst = true
        while at < block.byteCount {
            let kind = block[byte: at]
            if kind & 0xe0 == 0x20 {
                guard isFirst else { throw .misplacedTableSize }
                let size = try HeaderDecoder.number(block, &at, bits: 5)
                guard table.resize(size) else { throw .tableSize(size) }
                continue
            }
            isFirst = false
            if kind & 0x80 != 0 {
                try indexed(HeaderDecoder.number(block, &at, bits: 7), &fields, &left)
            } else {
                try literal(block, &at, isKept: kind & 0x40 != 0, &fields, &left)
            }
        }
        return left >= 0
    }

    private func indexed(_ index: Int, _ fields: inout FieldList, _ left: inout Int) throws(HeaderDamage) {
        let size = try recordBytes(index) - FieldList.headerBytes + HeaderTable.overhead
        // One byte here can stand for kilobytes there: what is over the limit is not even copied.
        guard left >= size else {
            left = -1
            return
        }
        left -= size
        appendRecord(index, to: &fields)
    }

    private mutating func literal(
        _ block: RawSpan, _ at: inout Int, isKept: Bool, _ fields: inout FieldList, _ left: inout Int
    ) throws(HeaderDamage) {
        let index = try HeaderDecoder.number(block, &at, bits: isKept ? 6 : 4)
        let start = fields.bytes.count
        let name = start + FieldList.headerBytes
        if index == 0 {
            fields.appendLengths()
            try HeaderDecoder.string(block, &at, into: &fields.bytes)
        } else {
            let nameBytes = try nameBytes(index)
            appendRecord(index, to: &fields, upTo: FieldList.headerBytes + nameBytes)
        }
        let value = fields.bytes.count
        try HeaderDecoder.string(block, &at, into: &fields.bytes)
        let end = fields.bytes.count
        fields.setLengths(start, name: value - name, value: end - value)
        if isKept { table.insert(fields.bytes.rawSpan.extracting(start..<end)) }
        let size = end - name + HeaderTable.overhead
        left = left >= size ? left - size : -1
        if left < 0 { fields.bytes.removeSubrange(start...) }
    }

    // MARK: Both tables

    private func recordBytes(_ index: Int) throws(HeaderDamage) -> Int {
        guard index > 0 else { throw .index(index) }
        if index <= StaticHeaders.count { return StaticHeaders.places[index - 1].count }
        guard index - StaticHeaders.count <= table.count else { throw .index(index) }
        return table[index - StaticHeaders.count - 1].byteCount
    }

    private func nameBytes(_ index: Int) throws(HeaderDamage) -> Int {
        _ = try recordBytes(index)
        if index <= StaticHeaders.count {
            let records = StaticHeaders.records
            return FieldList.nameLength(records.rawSpan.extracting(StaticHeaders.places[index - 1]))
        }
        return FieldList.nameLength(table[index - StaticHeaders.count - 1])
    }

    /// Of a field that is there, all of it or its first bytes.
    private func appendRecord(_ index: Int, to fields: inout FieldList, upTo end: Int = .max) {
        if index <= StaticHeaders.count {
            let records = StaticHeaders.records
            let record = records.rawSpan.extracting(StaticHeaders.places[index - 1])
            fields.bytes.append(record.extracting(0..<min(end, record.byteCount)))
        } else {
            let record = table[index - StaticHeaders.count - 1]
            fields.bytes.append(record.extracting(0..<min(end, record.byteCount)))
        }
    }

    // MARK: Numbers and strings

    /// The block has a byte at `at`: its low bits are the number, or say that more bytes follow. At most four of them: no
    /// table and no string is as long as that.
    private static func number(_ block: RawSpan, _ at: inout Int, bits: Int) throws(HeaderDamage) -> Int {
        let mask = 1 << bits - 1
        var number = Int(block[byte: at]) & mask
        at += 1
        if number < mask { return number }
        for shift in [0, 7, 14, 21] {
            guard at < block.byteCount else { throw .truncated }
            let byte = Int(block[byte: at])
            at += 1
            number += (byte & 0x7f) << shift
            if byte & 0x80 == 0 { return number }
        }
        throw .numberTooLarge
    }

    private static func string(_ block: RawSpan, _ at: inout Int, into bytes: inout [UInt8]) throws(HeaderDamage) {
        guard at < block.byteCount else { throw .truncated }
        let isHuffman = block[byte: at] & 0x80 != 0
        let count = try number(block, &at, bits: 7)
        guard count <= block.byteCount - at else { throw .truncated }
        let string = block.extracting(at..<at + count)
        at += count
        if !isHuffman {
            bytes.append(string)
        } else if !HuffmanCode.standard.decode(string, into: &bytes) {
            throw .huffman
        }
    }
}
