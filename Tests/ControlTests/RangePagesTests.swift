// `get` of a large range in pages: the same pairs as in one piece, one revision, and requests that grow.

import Control
import Foundations
import Testing
import Wire

@Suite struct RangePagesTests {
    /// What a member answers from these pairs.
    private func answer(_ request: RangeRequest, from pairs: [KeyValue]) -> RangeResponse {
        let all = pairs.filter { !$0.key.lexicographicallyPrecedes(request.key) }
        let cut = request.limit > 0 ? Array(all.prefix(Int(request.limit))) : all
        return RangeResponse(header: ResponseHeader(revision: 77), kvs: cut, more: cut.count < all.count, count: Int64(all.count))
    }

    @Test(arguments: [0, 1, 499, 500, 501, 3_000, 9_999, 10_000, 20_000] as [Int64])
    func `pages give the pairs of one piece`(limit: Int64) throws {
        let pairs = (0..<10_000).map { KeyValue(key: Array("k/\(100_000 + $0)".utf8), value: Bytes(repeating: 1, count: 1 + $0 % 4_000)) }
        var request = RangeRequest(key: Array("k/".utf8), rangeEnd: Array("k0".utf8))
        request.limit = limit
        var pages = try #require(RangePages(request))
        var got: [KeyValue] = []
        var (asked, largest) = (0, 0)
        while let next = pages.next {
            #expect(next.revision == (asked == 0 ? 0 : 77))
            let page = answer(next, from: pairs)
            got += page.kvs
            largest = max(largest, page.kvs.reduce(0) { $0 + $1.key.count + $1.value.count })
            pages.took(page)
            asked += 1
        }
        #expect(got == (limit == 0 ? pairs : Array(pairs.prefix(Int(limit)))))
        #expect(largest <= 2 * RangePages.bytesWanted)
        #expect(asked <= 10)
    }

    @Test func `the revision that was asked for stays`() throws {
        var request = RangeRequest(key: [1], rangeEnd: [2])
        request.revision = 5
        var pages = try #require(RangePages(request))
        pages.took(RangeResponse(header: ResponseHeader(revision: 77), kvs: [KeyValue(key: [1, 1])], more: true))
        #expect(pages.next?.revision == 5)
        #expect(pages.next?.key == [1, 1, 0])
    }

    @Test func `what a member decides over the whole range comes in one piece`() {
        let range = RangeRequest(key: [1], rangeEnd: [2])
        #expect(RangePages(RangeRequest(key: [1])) == nil)
        for change: (inout RangeRequest) -> Void in [
            { $0.countOnly = true }, { $0.sortOrder = .descend }, { ($0.sortOrder, $0.sortTarget) = (.ascend, .mod) },
            { $0.minModRevision = 1 }, { $0.maxCreateRevision = 1 },
        ] {
            var request = range
            change(&request)
            #expect(RangePages(request) == nil, "\(request)")
        }
    }
}
