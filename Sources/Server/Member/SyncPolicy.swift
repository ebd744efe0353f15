// Where the log is synced: by the member's own thread while the disk is quick, which spares two thread hops; by the log's
// thread once syncs have taken long, so that a slow disk holds up only those who wait for it. The member's thread serves
// connections too: while it waits for a disk nobody is answered, so one sync that stands out is enough to send the work
// away, and the way back needs many quick ones in a row, measured where the work is done then.

struct SyncPolicy {
    /// Longer than a good disk takes. One may be chance, several with no quiet time between them are a slow disk.
    static let slow: UInt64 = 3_000_000
    static let slowMost = 5
    /// Longer than clients should wait for what needs no disk.
    static let outstanding: UInt64 = 20_000_000
    static let quickInARow = 20

    private(set) var inBackground = false
    private var slowOnes = 0
    private var quickOnes = 0

    /// A sync took so many nanoseconds, on either thread.
    mutating func note(_ took: UInt64) {
        guard took > Self.slow else {
            quickOnes += 1
            if quickOnes >= Self.quickInARow {
                slowOnes = 0
                inBackground = false
            }
            return
        }
        quickOnes = 0
        slowOnes += 1
        if slowOnes >= Self.slowMost || took > Self.outstanding { inBackground = true }
    }
}
