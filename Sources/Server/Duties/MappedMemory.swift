// The member's memory is what it needs, not what it has looked at: once it serves, most of its program will not run again, and
// pages of its store that were read some time ago are the system's to keep.

import Foundations
import LMDBStore
import Linux

final class MappedMemory {
    private static let interval: UInt64 = 10_000_000_000
    /// Less is not worth a look. What comes back is a fault for every 64 KiB.
    private static let bytesMost = 32 << 20

    private unowned let member: Member

    /// Begins when the member serves.
    init(_ member: Member) {
        self.member = member
        MappedPages.letGo(of: "/proc/self/exe", .code)
        schedule()
    }

    private func schedule() {
        member.loop.schedule(after: Self.interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            if MappedPages.residentBytes() > Self.bytesMost { member.store.letGoOfPages() }
            schedule()
        }
    }
}
