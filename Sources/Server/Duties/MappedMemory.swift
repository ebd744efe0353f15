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
        letGoOfProgram()
        // Peers and clients have found their way by the first look.
        schedule { [weak self] in self?.letGoOfProgram() }
    }

    private func letGoOfProgram() { MappedPages.letGo(of: "/proc/self/exe", .code) }

    private func schedule(_ once: @escaping () -> Void = {}) {
        member.loop.schedule(after: Self.interval) { [weak self] in
            guard let self, !member.isStopped else { return }
            once()
            if OwnProcess.bytes(.files) ?? 0 > Self.bytesMost { member.store.letGoOfPages() }
            schedule()
        }
    }
}
