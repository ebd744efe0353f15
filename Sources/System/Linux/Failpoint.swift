// Places where a test makes the disk fail or the process die. Always compiled in, so that what is tested is what is
// shipped; unarmed, a place costs one load and a branch beside a system call.
//
// Armed by the environment, or by `arm` with the same text:
//
//   COVEY_FAILPOINTS="log.sync=exit@3;log.write=short:100@2;store.commit=error:ENOSPC@5+;snap.save=delay:20"
//
//   place=action        at the first time
//   place=action@N      at the Nth time only
//   place=action@N+     from the Nth time on
//
// Actions: exit (the process ends at once, as kill -9), error:EIO and error:ENOSPC, short:BYTES (a write takes only so
// many bytes and then the disk is full), delay:MILLISECONDS.

import CLinux
import Glibc

import struct Synchronization.Atomic

package enum Failpoint: Int, CaseIterable, Sendable {
    case logWrite, logWritten, logSync, logSynced, logCut, logCutRename, logCutRenamed, logSpare, logRepair
    case snapSave, snapRename
    case storeCommit, storeWritten, storeCommitted, storeGrow, storeGiveBack
    case snapshotKept, snapshotMarked, snapshotSwap

    package var name: String {
        switch self {
        case .logWrite: "log.write"
        case .logWritten: "log.written"
        case .logSync: "log.sync"
        case .logSynced: "log.synced"
        case .logCut: "log.cut"
        case .logCutRename: "log.cut.rename"
        case .logCutRenamed: "log.cut.renamed"
        case .logSpare: "log.spare"
        case .logRepair: "log.repair"
        case .snapSave: "snap.save"
        case .snapRename: "snap.rename"
        case .storeCommit: "store.commit"
        case .storeWritten: "store.written"
        case .storeCommitted: "store.committed"
        case .storeGrow: "store.grow"
        case .storeGiveBack: "store.give-back"
        case .snapshotKept: "snapshot.kept"
        case .snapshotMarked: "snapshot.marked"
        case .snapshotSwap: "snapshot.swap"
        }
    }

    /// What the caller has to do. Exit and delay happen inside `hit`.
    package enum Outcome: Equatable, Sendable {
        case proceed
        case fail(errno: Int32)
        case short(bytes: Int)
    }

    /// The process ended by `exit` has this status.
    package static let exitStatus: Int32 = 86

    @inline(__always)
    package func hit() -> Outcome {
        Failpoints.shared.armed.load(ordering: .relaxed) & (1 << UInt64(rawValue)) == 0 ? .proceed : strike()
    }

    @inline(never)
    private func strike() -> Outcome {
        guard let action = Failpoints.shared.take(self) else { return .proceed }
        switch action {
        case .exit: _exit(Failpoint.exitStatus)
        case .fail(let errno): return .fail(errno: errno)
        case .short(let bytes): return .short(bytes: bytes)
        case .delay(let milliseconds):
            usleep(UInt32(clamping: milliseconds * 1000))
            return .proceed
        }
    }

    /// Arms what the text says in addition to what is armed; throws a text that names the bad part.
    package static func arm(_ text: String) throws(FailpointSyntax) { try Failpoints.shared.arm(text) }

    package static func disarmAll() { Failpoints.shared.disarmAll() }
}

package struct FailpointSyntax: Error, Equatable, CustomStringConvertible {
    package var part: String

    package init(part: String) { self.part = part }

    package var description: String { "failpoint \"\(part)\" is not PLACE=exit|error:NAME|short:BYTES|delay:MS[@N[+]]" }
}

private final class Failpoints: Sendable {
    enum Action { case exit, fail(Int32), short(Int), delay(Int) }

    struct Arming {
        var place: Failpoint
        var action: Action
        var first: Int
        var last: Int
        var hits = 0
    }

    /// One bit a place.
    let armed = Atomic<UInt64>(0)
    private let armings = Mutex<[Arming]>([])

    static let shared = Failpoints()

    private init() {
        guard let value = unsafe getenv("COVEY_FAILPOINTS") else { return }
        let text = unsafe String(cString: value)
        do { try arm(text) } catch { fatalError("COVEY_FAILPOINTS: \(error)") }
    }

    func arm(_ text: String) throws(FailpointSyntax) {
        var new: [Arming] = []
        for part in text.split(separator: ";") { new.append(try parse(String(part))) }
        let added = new
        armings.withLock { all in
            all += added
            armed.store(all.reduce(0) { $0 | 1 << UInt64($1.place.rawValue) }, ordering: .relaxed)
        }
    }

    func disarmAll() {
        armings.withLock {
            $0 = []
            armed.store(0, ordering: .relaxed)
        }
    }

    func take(_ place: Failpoint) -> Action? {
        armings.withLock { all in
            for i in all.indices where all[i].place == place {
                all[i].hits += 1
                if (all[i].first...all[i].last).contains(all[i].hits) { return all[i].action }
            }
            return nil
        }
    }

    private func parse(_ part: String) throws(FailpointSyntax) -> Arming {
        let sides = part.split(separator: "=", maxSplits: 1)
        guard sides.count == 2, let place = Failpoint.allCases.first(where: { $0.name == sides[0] }) else {
            throw FailpointSyntax(part: part)
        }
        var words = sides[1].split(separator: "@", maxSplits: 1)
        var first = 1
        var last = 1
        if words.count == 2 {
            let onwards = words[1].hasSuffix("+")
            guard let number = Int(onwards ? words[1].dropLast() : words[1]), number > 0 else {
                throw FailpointSyntax(part: part)
            }
            first = number
            last = onwards ? Int.max : number
        }
        words = words[0].split(separator: ":", maxSplits: 1)
        let action: Action
        switch (words[0], words.count == 2 ? words[1] : "") {
        case ("exit", ""): action = .exit
        case ("error", "EIO"): action = .fail(EIO)
        case ("error", "ENOSPC"): action = .fail(ENOSPC)
        case ("short", let bytes) where Int(bytes) != nil: action = .short(Int(bytes)!)
        case ("delay", let time) where Int(time) != nil: action = .delay(Int(time)!)
        default: throw FailpointSyntax(part: part)
        }
        return Arming(place: place, action: action, first: first, last: last)
    }
}
