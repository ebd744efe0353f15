// The two clocks. Everything that measures time uses the monotonic one; the wall clock is for logs, ids and certificates.

import CLinux
import Glibc

package enum Clock {
    /// Nanoseconds since some fixed point; never goes back.
    package static func monotonic() -> UInt64 { read(CLOCK_MONOTONIC) }

    /// Nanoseconds since 1970 in UTC.
    package static func wall() -> UInt64 { read(CLOCK_REALTIME) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
