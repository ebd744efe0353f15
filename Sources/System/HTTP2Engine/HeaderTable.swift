// The two tables that header compression refers to by number (RFC 7541, 2.3): the one in the standard, and the one that a
// connection builds as it goes. Both hold records as a FieldList has them, so that a field taken from a table is one copy.

import Foundations

enum StaticHeaders {
    /// Numbers 1 to 61.
    static let count = fields.count

    static let records = makeRecords()
    /// Of number `i + 1`; the last one is the end.
    static let places = makePlaces()

    private static func makeRecords() -> [UInt8] {
        var list = FieldList()
        for (name, value) in fields { list.append(Array(name.utf8).rawSpan, Array(value.utf8).rawSpan) }
        return list.bytes
    }

    private static func makePlaces() -> [Range<Int>] {
        var end = 0
        return fields.map { name, value in
            let start = end
            end += FieldList.headerBytes + name.utf8.count + value.utf8.count
            return start..<end
        }
    }

    private static let fields: [(String, String)] = [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
        (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
        (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
        ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
        ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
        ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
        ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
        ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
        ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
        ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
        ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
        ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ]
}

/// Fields that the peer had us remember, the newest first by number. Bounded by `bytesMax` as the standard counts: 32 bytes a
/// field beside its name and value.
package struct HeaderTable {
    package static let overhead = 32

    /// What the peer may use at most; it may choose less.
    package let limit: Int
    package private(set) var bytesMax: Int
    package private(set) var size = 0
    /// Another one after everything that can give a number another meaning.
    package private(set) var generation: UInt64 = 0

    /// Records, the oldest first. What is before the first place is gone.
    private var records: [UInt8] = []
    private var places: [Range<Int>] = []
    private var first = 0

    package init(limit: Int = 4096) {
        self.limit = limit
        bytesMax = limit
    }

    package var count: Int { places.count - first }

    /// The record of the field that was added so many fields ago.
    subscript(_ age: Int) -> RawSpan {
        @_lifetime(borrow self)
        get { records.rawSpan.extracting(places[places.count - 1 - age]) }
    }

    /// The record is not one of this table's own bytes: they move.
    mutating func insert(_ record: RawSpan) {
        generation += 1
        let need = record.byteCount - FieldList.headerBytes + HeaderTable.overhead
        shrink(to: bytesMax - need)
        // A field larger than the table empties it; that is no error.
        guard need <= bytesMax else { return }
        if records.count + record.byteCount > 2 * limit || places.count == 2 * limit / HeaderTable.overhead { moveToFront() }
        places.append(records.count..<records.count + record.byteCount)
        records.append(record)
        size += need
    }

    /// False when the peer takes more than it may.
    mutating func resize(_ bytes: Int) -> Bool {
        guard bytes <= limit else { return false }
        generation += 1
        bytesMax = bytes
        shrink(to: bytes)
        return true
    }

    private mutating func shrink(to bytes: Int) {
        while size > bytes && first < places.count {
            size -= places[first].count - FieldList.headerBytes + HeaderTable.overhead
            first += 1
        }
        if first == places.count {
            first = 0
            places.removeAll(keepingCapacity: true)
            records.removeAll(keepingCapacity: true)
        }
    }

    private mutating func moveToFront() {
        guard first > 0 else { return }
        let start = places[first].lowerBound
        records.removeSubrange(..<start)
        places.removeSubrange(..<first)
        first = 0
        for i in places.indices { places[i] = places[i].lowerBound - start..<places[i].upperBound - start }
    }
}
