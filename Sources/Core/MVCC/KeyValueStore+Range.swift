// Reads. The pairs of an answer are appended as encoded fields, copied from where they are stored.
//
// The order of evaluation is part of the contract (client-semantics 2): collect in key order (at most limit + 1 when
// nothing reorders or filters), drop by revision filters, sort, cut to the limit. The count is of all keys in the range.

import Foundations

/// What a range wants beside its keys.
package struct RangeOptions: Sendable, Equatable {
    package enum Order: Sendable { case none, ascend, descend }
    package enum Target: Sendable { case key, version, create, mod, value }

    /// Zero or less: no limit.
    package var limit: Int64 = 0
    /// Zero or less: the latest.
    package var revision: Int64 = 0
    package var order = Order.none
    package var target = Target.key
    package var keysOnly = false
    package var countOnly = false
    /// Each active when not zero.
    package var minModRevision: Int64 = 0
    package var maxModRevision: Int64 = 0
    package var minCreateRevision: Int64 = 0
    package var maxCreateRevision: Int64 = 0

    package init() {}

    var filters: Bool {
        minModRevision != 0 || maxModRevision != 0 || minCreateRevision != 0 || maxCreateRevision != 0
    }

    /// Sorting by anything but the key with no order given means ascending.
    var effectiveOrder: Order { target != .key && order == .none ? .ascend : order }
    /// Whether the result is in key order anyway.
    var keepsKeyOrder: Bool { target == .key && order != .descend }

    func accepts(create: Int64, mod: Int64) -> Bool {
        if maxModRevision != 0 && mod > maxModRevision { return false }
        if minModRevision != 0 && mod < minModRevision { return false }
        if maxCreateRevision != 0 && create > maxCreateRevision { return false }
        if minCreateRevision != 0 && create < minCreateRevision { return false }
        return true
    }
}

package struct RangeResult: Sendable, Equatable {
    /// Keys in the range at the revision, whatever limit and filters say.
    package var count: Int64 = 0
    package var more = false
    /// Pairs that were appended.
    package var pairs = 0
}

extension KeyValueStore {
    /// Whether a revision can be read (zero or less: the latest, always).
    package func checkRevision(_ revision: Int64) throws(KeyValueError) {
        if revision > currentRevision { throw .future }
        if revision > 0 && revision < compactedRevision { throw .compacted }
    }

    /// The same for a range inside a transaction, where a negative revision below the compacted one (-1 before the first
    /// compaction) is refused: every member of a cluster must decide alike.
    func checkTxnRevision(_ revision: Int64) throws(KeyValueError) {
        if revision == 0 { return }
        if revision > currentRevision { throw .future }
        if revision < compactedRevision { throw .compacted }
    }

    /// Appends the pairs of a range as fields `tag` (0x12: the kvs of a RangeResponse). `end` empty: the one key; one 0x00
    /// byte: everything from the key on; else up to `end`, exclusive.
    package func range(
        _ key: RawSpan, _ end: RawSpan, _ options: RangeOptions, field tag: UInt8 = 0x12, into bytes: inout [UInt8]
    ) throws(KeyValueError) -> RangeResult {
        try checkRevision(options.revision)
        operations.ranges += 1
        // Inside a transaction the current revision as a number means the state before it.
        let main =
            options.revision > 0 && (options.revision < currentRevision || isWriting) ? options.revision : Int64.max
        if options.countOnly { return RangeResult(count: Int64(count(key, end, at: main))) }
        if end.byteCount == 0 { return one(key, at: main, options, tag, &bytes) }
        if options.keepsKeyOrder && !options.filters { return inOrder(key, end, at: main, options, tag, &bytes) }
        return sorted(key, end, at: main, options, tag, &bytes)
    }

    /// Number of keys in a range at a revision (.max: now). Now costs two descents, the past a walk.
    func count(_ key: RawSpan, _ end: RawSpan, at main: Int64) -> Int {
        if end.byteCount == 0 { return index.version(of: key, at: main) == nil ? 0 : 1 }
        let isOpen = KeyValueStore.isOpenEnd(end)
        if main == .max {
            if !isOpen && key.compare(end) >= 0 { return 0 }
            return isOpen ? index.countAlive(from: key) : index.countAlive(from: key, to: end)
        }
        var scan = index.scan(from: key, to: end, isOpen: isOpen)
        var total = 0
        while next(&scan, at: main) != nil { total += 1 }
        return total
    }

    /// The next key that is alive at a revision, with its version then.
    @inline(__always)
    func next(_ scan: inout KeyIndex.Scan, at main: Int64) -> (ref: KeyIndex.Ref, version: KeyVersion)? {
        if main == .max {
            let ref = index.nextAlive(&scan)
            return ref == 0 ? nil : (ref, index.entries.latest(ref))
        }
        while true {
            let ref = index.next(&scan)
            if ref == 0 { return nil }
            if let version = index.entries.version(ref, at: main), !version.isTombstone { return (ref, version) }
        }
    }

    private func one(
        _ key: RawSpan, at main: Int64, _ options: RangeOptions, _ tag: UInt8, _ bytes: inout [UInt8]
    ) -> RangeResult {
        let ref = index.find(key)
        guard ref != 0, let version = index.entries.version(ref, at: main), !version.isTombstone else {
            return RangeResult()
        }
        if options.filters {
            let known = complete(version)
            if !options.accepts(create: known.createRevision, mod: known.revision.main) {
                return RangeResult(count: 1)
            }
        }
        append(ref, version, options, tag, &bytes)
        return RangeResult(count: 1, pairs: 1)
    }

    private func inOrder(
        _ key: RawSpan, _ end: RawSpan, at main: Int64, _ options: RangeOptions, _ tag: UInt8, _ bytes: inout [UInt8]
    ) -> RangeResult {
        let limit = options.limit > 0 ? Int(options.limit) : Int.max
        var result = RangeResult()
        var scan = index.scan(from: key, to: end, isOpen: KeyValueStore.isOpenEnd(end))
        var pairs = Gathering(self, options, tag)
        while result.pairs < limit, let (ref, version) = next(&scan, at: main) {
            pairs.add(ref, version, self, &bytes)
            result.pairs += 1
        }
        pairs.finish(self, &bytes)
        if result.pairs < limit {
            result.count = Int64(result.pairs)
        } else if main == .max {
            result.count = Int64(count(key, end, at: main))
        } else {
            result.count = Int64(result.pairs)
            while next(&scan, at: main) != nil { result.count += 1 }
        }
        result.more = result.count > Int64(result.pairs)
        return result
    }

    /// Appends one pair: as stored, or without value.
    @inline(__always)
    func append(
        _ ref: KeyIndex.Ref, _ version: KeyVersion, _ options: RangeOptions, _ tag: UInt8, _ bytes: inout [UInt8]
    ) {
        if !options.keysOnly {
            appendStored(version.revision, field: tag, to: &bytes)
        } else {
            appendKeyOnly(ref, version, tag, &bytes)
        }
    }

    /// Appends pairs one after the other, and looks up together those that are neighbours in the answer and in the store:
    /// what a look-up costs is mostly what is around it.
    private struct Gathering {
        private static let keysMax = 256

        private let options: RangeOptions
        private let tag: UInt8
        private let firstPending: Revision
        private var keys: [UInt8] = []

        init(_ store: KeyValueStore, _ options: RangeOptions, _ tag: UInt8) {
            self.options = options
            self.tag = tag
            firstPending = store.firstPending
            swap(&keys, &store.gatheredKeys)
            keys.reserveCapacity(Gathering.keysMax * RevisionKey.tombstoneCount)
        }

        @inline(__always)
        mutating func add(_ ref: KeyIndex.Ref, _ version: KeyVersion, _ store: KeyValueStore, _ bytes: inout [UInt8]) {
            if options.keysOnly || version.revision >= firstPending {
                store.appendStored(keys: &keys, field: tag, to: &bytes)
                return store.append(ref, version, options, tag, &bytes)
            }
            RevisionKey.append(version.revision, isTombstone: false, to: &keys)
            if keys.count >= Gathering.keysMax * RevisionKey.putCount {
                store.appendStored(keys: &keys, field: tag, to: &bytes)
            }
        }

        mutating func finish(_ store: KeyValueStore, _ bytes: inout [UInt8]) {
            store.appendStored(keys: &keys, field: tag, to: &bytes)
            swap(&keys, &store.gatheredKeys)
        }
    }

    private func appendKeyOnly(
        _ ref: KeyIndex.Ref, _ version: KeyVersion, _ tag: UInt8, _ bytes: inout [UInt8]
    ) {
        // The lease is known to the stored record only.
        let known = parts(version.revision)
        let index = index
        let key = index.key(ref)
        let count = StoredKeyValue.count(
            key: key.byteCount, value: 0, create: known.createRevision, mod: version.revision.main,
            version: known.version, lease: known.lease)
        bytes.append(tag)
        FieldWriter.varint(UInt64(count), &bytes)
        let none: [UInt8] = []
        StoredKeyValue.append(
            key: key, value: none.rawSpan, create: known.createRevision, mod: version.revision.main,
            version: known.version, lease: known.lease, to: &bytes)
    }

    /// The numbers of a stored revision (its ranges point into bytes that are gone).
    func parts(_ revision: Revision) -> StoredKeyValue {
        scratch.removeAll(keepingCapacity: scratch.capacity <= 1 << 16)
        var bytes = scratch
        scratch = []
        appendStored(revision, to: &bytes)
        guard let parts = StoredKeyValue(bytes.rawSpan) else { unreachable("stored bytes are a KeyValue") }
        scratch = bytes
        return parts
    }

    /// The version with create revision and version number, which the index knows only for the newest one.
    func complete(_ version: KeyVersion) -> KeyVersion {
        if version.version != 0 { return version }
        let parts = self.parts(version.revision)
        var known = version
        known.createRevision = parts.createRevision
        known.version = parts.version
        return known
    }

    // MARK: Sorted and filtered

    private struct Candidate {
        var ref: KeyIndex.Ref
        var version: KeyVersion
        /// The value, when sorting by it: a part of one buffer.
        var value: Range<Int> = 0..<0
    }

    private func sorted(
        _ key: RawSpan, _ end: RawSpan, at main: Int64, _ options: RangeOptions, _ tag: UInt8, _ bytes: inout [UInt8]
    ) -> RangeResult {
        let limit = options.limit > 0 ? Int(options.limit) : Int.max
        // Only an explicit order other than the natural one, or a filter, makes the limit wait.
        let reorders = options.order == .descend || (options.order == .ascend && options.target != .key)
        let collected = reorders || options.filters ? Int.max : (limit == .max ? limit : limit + 1)
        let needsNumbers = options.filters || options.target == .version || options.target == .create

        var result = RangeResult()
        var candidates: [Candidate] = []
        var scan = index.scan(from: key, to: end, isOpen: KeyValueStore.isOpenEnd(end))
        var seen = 0
        while seen < collected, let (ref, found) = next(&scan, at: main) {
            seen += 1
            let version = needsNumbers ? complete(found) : found
            if options.accepts(create: version.createRevision, mod: version.revision.main) {
                candidates.append(Candidate(ref: ref, version: version))
            }
        }
        if seen < collected {
            result.count = Int64(seen)
        } else {
            result.count = Int64(count(key, end, at: main))
        }

        sort(&candidates, options)
        result.more = candidates.count > limit
        var pairs = Gathering(self, options, tag)
        for candidate in candidates.prefix(limit) {
            pairs.add(candidate.ref, candidate.version, self, &bytes)
            result.pairs += 1
        }
        pairs.finish(self, &bytes)
        return result
    }

    private func sort(_ candidates: inout [Candidate], _ options: RangeOptions) {
        let descends = options.effectiveOrder == .descend
        switch options.target {
        case .key:
            // Collected in key order already.
            if descends { candidates.reverse() }
        case .version: sort(&candidates, descends) { $0.version.version }
        case .create: sort(&candidates, descends) { $0.version.createRevision }
        case .mod: sort(&candidates, descends) { $0.version.revision.main }
        case .value:
            var values: [UInt8] = []
            for i in candidates.indices {
                let start = values.count
                appendStored(candidates[i].version.revision, to: &values)
                guard let parts = StoredKeyValue(values.rawSpan.extracting(start..<values.count)) else {
                    unreachable("stored bytes are a KeyValue")
                }
                candidates[i].value = (start + parts.value.lowerBound)..<(start + parts.value.upperBound)
            }
            candidates.sort {
                let order = values.rawSpan.extracting($0.value).compare(values.rawSpan.extracting($1.value))
                return descends ? order > 0 : order < 0
            }
        }
    }

    private func sort(_ candidates: inout [Candidate], _ descends: Bool, by number: (Candidate) -> Int64) {
        candidates.sort { descends ? number($0) > number($1) : number($0) < number($1) }
    }
}
