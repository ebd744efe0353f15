// Alarms: a member ran out of space, or found its data corrupt. They are replicated and put the whole cluster into a
// restricted mode until they are cleared (apply-semantics 5). A request that a mode forbids fails on every member
// alike and has no effect, so the mode is part of the replicated state.

import Foundations
import MVCC
import Wire

package struct Alarms {
    package struct Alarm: Hashable, Comparable, Sendable {
        package var member: UInt64
        package var type: AlarmType

        package static func < (a: Alarm, b: Alarm) -> Bool {
            (a.member, a.type.rawValue) < (b.member, b.type.rawValue)
        }
    }

    private var active: Set<Alarm> = []
    package private(set) var isOutOfSpace = false
    package private(set) var isCorrupt = false

    package init() {}

    /// Active alarms of a type (none: all), sorted.
    package func list(_ type: AlarmType = .none) -> [Alarm] {
        active.filter { type == .none || $0.type == type }.sorted()
    }

    /// The alarm that is active afterwards; nil for type none, which has no effect.
    package mutating func activate(_ alarm: Alarm, into batch: inout StoreBatch) -> Alarm? {
        guard alarm.type != .none else { return nil }
        if active.insert(alarm).inserted { batch.put(.alarm, Alarms.storeKey(alarm), []) }
        update()
        return alarm
    }

    /// The alarm that was active before; nil if it was not.
    package mutating func deactivate(_ alarm: Alarm, into batch: inout StoreBatch) -> Alarm? {
        guard active.remove(alarm) != nil else { return nil }
        batch.delete(.alarm, Alarms.storeKey(alarm))
        update()
        return alarm
    }

    package mutating func restore(_ view: any StoreView) {
        active = []
        view.scan(.alarm, from: [], to: nil) { key, _ in
            guard let stored = try? AlarmMember(decoding: key) else { unreachable("a stored alarm does not decode") }
            active.insert(Alarm(member: stored.memberID, type: stored.alarm))
            return true
        }
        update()
    }

    private mutating func update() {
        isOutOfSpace = active.contains { $0.type == .nospace }
        isCorrupt = active.contains { $0.type == .corrupt }
    }

    private static func storeKey(_ alarm: Alarm) -> Bytes {
        var message = AlarmMember()
        message.memberID = alarm.member
        message.alarm = alarm.type
        return message.encoded()
    }
}
