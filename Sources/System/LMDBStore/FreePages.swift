// Space of free pages goes back to the file system: holes are punched where LMDB's list of free pages points. No page moves
// and nobody waits, and a page that is used again gets new blocks when it is written.
//
// Which pages: the list holds them by the transaction that freed them; no later state refers to them. LMDB may fall back to
// the state before the newest when the last mark was torn, and readers keep the states they began with. What was freed
// before all of these nobody reads again: that is LMDB's own rule for using a page anew, and it is the one followed here.
// Only the store's thread may do this, because it is the only one that commits: while it is here the list stands still.

import CLMDB
import CLinux
import Foundations
import Glibc
import Linux
import MVCC

struct FreePages {
    /// Runs of pages, ascending, none touching the next.
    var runs: [Range<Int>] = []
    /// The transaction to go on after, when there is more.
    var next: Int?
}

extension Environment {
    /// Free pages of the transactions after `mark`, at most about `pagesMax` of them.
    func freePages(after mark: Int, pagesMax: Int) throws(StoreError) -> FreePages {
        let txn = unsafe try begin(write: false)
        defer { unsafe mdb_txn_abort(txn) }
        let oldest = min(Int(unsafe mdb_txn_id(txn)), oldestReader ?? .max)
        // The list is table 0; LMDB lets read transactions look at it.
        var cursor: OpaquePointer?
        try check(unsafe mdb_cursor_open(txn, 0, &cursor), "list free pages", path)
        defer { unsafe mdb_cursor_close(cursor) }

        var pages: [Int] = []
        var result = FreePages()
        var last = mark
        var key = unsafe MDB_val(), value = unsafe MDB_val()
        var first = UInt(mark + 1)
        // Keys are numbers in the machine's order, compared as such.
        var code = unsafe withUnsafeMutableBytes(of: &first) { bytes in
            unsafe key = MDB_val(mv_size: bytes.count, mv_data: bytes.baseAddress)
            return unsafe mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        }
        while code == MDB_SUCCESS {
            let transaction = unsafe number(span(key), 0)
            guard transaction < oldest else { break }
            if pages.count >= pagesMax {
                result.next = last
                break
            }
            let list = unsafe span(value)
            let count = number(list, 0)
            guard count >= 0, list.byteCount >= (count + 1) * MemoryLayout<Int>.size else {
                throw .damaged(path: path, what: "its list of free pages is cut short")
            }
            for i in 0..<count { pages.append(number(list, i + 1)) }
            last = transaction
            code = unsafe mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        }
        if code != MDB_SUCCESS, code != MDB_NOTFOUND { throw .failed(call: "list free pages", path: path, code: code) }
        result.runs = FreePages.runs(of: &pages)
        return result
    }

    /// The file gives up the blocks behind the pages; its length stays.
    func giveBack(_ pages: Range<Int>) throws(StoreError) {
        if case .fail(let errno) = Failpoint.storeGiveBack.hit() { throw .failed(call: "give back space", path: path, code: errno) }
        // The first two pages are LMDB's marks and are never free.
        guard pages.lowerBound >= 2 else { throw .damaged(path: path, what: "its list of free pages holds page \(pages.lowerBound)") }
        let code = covey_punch_hole(try descriptor(), Int64(pages.lowerBound * pageBytes), Int64(pages.count * pageBytes))
        if code != 0 { throw .failed(call: "give back space", path: path, code: code) }
    }

    private func number(_ bytes: RawSpan, _ index: Int) -> Int {
        unsafe bytes.unsafeLoadUnaligned(fromByteOffset: index * MemoryLayout<Int>.size, as: Int.self)
    }
}

extension FreePages {
    static func runs(of pages: inout [Int]) -> [Range<Int>] {
        pages.sort()
        var runs: [Range<Int>] = []
        for page in pages {
            if let last = runs.last, last.upperBound == page {
                runs[runs.count - 1] = last.lowerBound..<page + 1
            } else {
                runs.append(page..<page + 1)
            }
        }
        return runs
    }
}
