// What a request is taken to add to the store, for the backend quota (client-semantics 10.2). A request that costs
// nothing always passes; another is refused when the allocated size plus its cost reaches the quota.

package enum QuotaCost {
    package static let leaseGrant = 64
    package static let defaultQuotaBytes = 2 * 1024 * 1024 * 1024

    private static let revisionOverhead = 256

    package static func put(keyBytes: Int, valueBytes: Int) -> Int { revisionOverhead + keyBytes + valueBytes }

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
