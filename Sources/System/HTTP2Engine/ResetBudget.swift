// How many streams a peer may have reset: so many at once, so many a second after that. A stream that is opened and reset
// costs the peer a few bytes and us a request. Resets that we send because the peer provoked them count as well.

import Glibc

struct ResetBudget {
    private let burst: UInt64
    private let perSecond: UInt64
    private var left: UInt64
    private var second: UInt64 = 0

    init(burst: UInt64, perSecond: UInt64) {
        (self.burst, self.perSecond) = (burst, perSecond)
        left = burst
    }

    /// False when there were too many.
    mutating func take() -> Bool { take(now: ResetBudget.now()) }

    mutating func take(now: UInt64) -> Bool {
        if now > second {
            let (more, overflow) = (now - second).multipliedReportingOverflow(by: perSecond)
            left = overflow || more > burst - left ? burst : left + more
            second = now
        }
        guard left > 0 else { return false }
        left -= 1
        return true
    }

    private static func now() -> UInt64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return UInt64(time.tv_sec)
    }
}
