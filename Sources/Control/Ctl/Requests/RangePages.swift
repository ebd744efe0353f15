// A large range read a page at a time, all pages at the revision of the first: what is shown in the order of keys needs no more
// memory than a page, however many keys there are. Pages grow towards `bytesWanted`: each costs a member a look at all keys.

import Foundations
import Wire

package struct RangePages: Equatable {
    package static let bytesWanted = 4 << 20
    package static let firstLimit: Int64 = 500
    package static let limitMax: Int64 = 100_000

    /// What to ask next; nil at the end.
    package private(set) var next: RangeRequest?
    /// What the caller still wants; nil without a limit.
    private var rest: Int64?

    /// Nil for what must come in one piece: one key, a count, an order or a choice that a member makes over the whole range.
    package init?(_ request: RangeRequest) {
        let isChosen =
            request.minModRevision != 0 || request.maxModRevision != 0 || request.minCreateRevision != 0
            || request.maxCreateRevision != 0
        let isInOrder = request.sortOrder == .none || (request.sortOrder == .ascend && request.sortTarget == .key)
        guard !request.rangeEnd.isEmpty, !request.countOnly, !isChosen, isInOrder else { return nil }
        rest = request.limit > 0 ? request.limit : nil
        var first = request
        first.limit = min(RangePages.firstLimit, rest ?? .max)
        next = first
    }

    package mutating func took(_ page: RangeResponse) {
        guard var request = next, page.more, let last = page.kvs.last else { return next = nil }
        if let wanted = rest {
            guard wanted > page.kvs.count else { return next = nil }
            rest = wanted - Int64(page.kvs.count)
        }
        let bytes = page.kvs.reduce(0) { $0 + $1.key.count + $1.value.count + 32 }
        let fitting = Int64(RangePages.bytesWanted * page.kvs.count / max(1, bytes))
        let limit = min(max(1, min(fitting, request.limit * 8)), RangePages.limitMax)
        request.limit = min(limit, rest ?? .max)
        request.key = last.key + [0]
        if request.revision == 0 { request.revision = page.header?.revision ?? 0 }
        next = request
    }
}
