// What a request is taken to add to the store, for the backend quota (client-semantics 10.2). A request that costs
// nothing always passes; another is refused when the allocated size plus its cost reaches the quota.

import Foundations
import Wire

package enum QuotaCost {
    package static let leaseGrant = 64
    package static let defaultQuotaBytes = 2 * 1024 * 1024 * 1024

    private static let revisionOverhead = 256

    package static func put(keyBytes: Int, valueBytes: Int) -> Int { revisionOverhead + keyBytes + valueBytes }

    /// The dearer branch; nested transactions count too.
    package static func txn(_ request: RawSpan) -> Int {
        guard let txn = try? TxnRequestView(decoding: request) else { return 0 }
        return max(sum(txn.success), sum(txn.failure))
    }

    private static func sum(_ operations: borrowing RepeatedPayloads) -> Int {
        var total = 0
        var list = operations.makeIterator()
        while let bytes = list.next() {
            guard let operation = try? RequestOpView(decoding: bytes) else { continue }
            switch operation.requestField {
            case 2:
                guard let request = try? PutRequestView(decoding: operation.requestPut) else { continue }
                total += put(keyBytes: request.key.byteCount, valueBytes: request.value.byteCount)
            case 4: total += txn(operation.requestTxn)
            default: break
            }
        }
        return total
    }

    /// The flag's meaning: 0 is the default, negative is no limit (nil).
    package static func quota(flag: Int) -> Int? {
        switch flag {
        case 0: defaultQuotaBytes
        case ..<0: nil
        default: flag
        }
    }

    package static func fits(cost: Int, allocatedBytes: Int, quota: Int?) -> Bool {
        guard cost > 0, let quota else { return true }
        return allocatedBytes + cost < quota
    }
}
