// Numbers for requests that travel through the log. They must be unique in the cluster and across restarts: 16 bits of
// the member, 40 bits of the start time in milliseconds, 8 bits of counter; each id adds one to the low 48 bits, so that
// the counter may flow into the time.

import Foundations

package struct RequestIDs {
    private let member: UInt64
    private var low: UInt64

    package init(member: MemberID, startMilliseconds: UInt64) {
        self.member = (member.rawValue & 0xffff) << 48
        low = (startMilliseconds & 0xff_ffff_ffff) << 8
    }

    package mutating func next() -> UInt64 {
        low = (low &+ 1) & 0xffff_ffff_ffff
        return member | low
    }

    /// How many ids after `first` this one was given out; ids of other members give a meaningless large number.
    package static func distance(from first: UInt64, to id: UInt64) -> UInt64 {
        id >> 48 == first >> 48 ? (id &- first) & 0xffff_ffff_ffff : .max
    }
}
