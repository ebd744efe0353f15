// What took long, in parts: so that a log line says whether the disk, the other members, the store or the load is slow.
// Values are never shown, only their sizes.

import Foundations
import Linux
import Raft
import State
import Wire

/// The last write of the log that was waited for.
struct SyncTime {
    var took: UInt64 = 0
    var ended: UInt64 = 0
}

extension Member {
    /// `waiter` was answered with so many bytes by applying `data`.
    func noteSlowRequest(_ waiter: Waiter, _ data: Bytes, answer: Int) {
        // The clock is asked only when it may matter: this is on the way of every put.
        let limit = min(settings.slowRequest, settings.slowApply)
        guard
            loop.now &- waiter.started > limit || lastSync.ended > waiter.started && lastSync.took > limit / 2
                || state.kv.changes.count > 1000
        else { return }
        let now = Linux.Clock.monotonic()
        guard now > waiter.started else { return }
        let took = now - waiter.started
        // A sync inside this turn is over before anything is applied.
        let turn = max(loop.now, waiter.started, lastSync.ended)
        let applying = now &- turn
        guard took > settings.slowRequest || applying > settings.slowApply else { return }
        metrics.slowApplies += 1
        let expected = took > settings.slowRequest ? settings.slowRequest : settings.slowApply
        warn(
            "apply request took too long",
            [
                ("took", SlowRequest.shown(took)), ("expected-duration", SlowRequest.shown(expected)), ("prefix", ""),
                ("request", SlowRequest.text(data)), ("response", "size:\(answer)"),
                ("until-committed", SlowRequest.shown(turn - waiter.started)), ("applying", SlowRequest.shown(applying)),
                ("last-fdatasync", lastSync.ended >= waiter.started ? SlowRequest.shown(lastSync.took) : "before it"),
                ("pending", "\(waiters.count)"),
            ])
        guard took > settings.slowRequest, let method = SlowRequest.method(data) else { return }
        // The same in the words that tools look for.
        warn(
            "request stats",
            [
                ("time spent", SlowRequest.shown(took)), ("response type", method),
                ("request size", "\(data.count)"), ("response size", "\(answer)"), ("request content", SlowRequest.text(data)),
            ])
    }

    func noteSlowRead(started: UInt64, asked: UInt64, confirmed: UInt64) {
        let took = loop.now &- started
        guard took > settings.slowRequest, loop.now > started else { return }
        warn(
            "linearizable read took too long",
            [
                ("took", SlowRequest.shown(took)), ("expected-duration", SlowRequest.shown(settings.slowRequest)),
                ("until-asked", SlowRequest.shown(max(asked, started) - started)),
                ("until-confirmed", SlowRequest.shown(max(confirmed, asked) - asked)),
                ("until-applied", SlowRequest.shown(loop.now &- max(confirmed, asked))),
            ])
    }
}

/// A proposed request in one line.
enum SlowRequest {
    private static let keyBytesShown = 128

    /// A duration as etcd writes it where the unit is concerned; whole ones of that unit.
    static func shown(_ nanoseconds: UInt64) -> String {
        if nanoseconds < 1_000 { return "\(nanoseconds)ns" }
        return nanoseconds < 1_000_000 ? "\(nanoseconds / 1_000)\u{b5}s" : "\(nanoseconds / 1_000_000)ms"
    }

    /// The call that a proposal came from; nil for those that are quick, and for the members' own.
    static func method(_ data: Bytes) -> String? {
        switch (try? InternalRaftRequestView(decoding: data.rawSpan))?.kindField {
        case RequestKind.put: "/etcdserverpb.KV/Put"
        case RequestKind.deleteRange: "/etcdserverpb.KV/DeleteRange"
        case RequestKind.txn: "/etcdserverpb.KV/Txn"
        case RequestKind.compaction: "/etcdserverpb.KV/Compact"
        case RequestKind.leaseGrant: "/etcdserverpb.Lease/LeaseGrant"
        case RequestKind.leaseRevoke: "/etcdserverpb.Lease/LeaseRevoke"
        default: nil
        }
    }

    static func text(_ data: Bytes) -> String {
        guard let view = try? InternalRaftRequestView(decoding: data.rawSpan) else { return "size:\(data.count)" }
        switch view.kindField {
        case RequestKind.put:
            guard let put = try? PutRequestView(decoding: view.body) else { break }
            return "put:<key:\(key(put.key)) value_size:\(put.value.byteCount)>"
        case RequestKind.deleteRange:
            guard let delete = try? DeleteRangeRequestView(decoding: view.body) else { break }
            return "delete_range:<key:\(key(delete.key)) range_end:\(key(delete.rangeEnd))>"
        case RequestKind.txn:
            guard let txn = try? TxnRequestView(decoding: view.body) else { break }
            let counts = "compare:\(txn.compare.count) success:\(txn.success.count) failure:\(txn.failure.count)"
            return "txn:<\(counts) size:\(view.body.byteCount)>"
        default: break
        }
        return "kind:\(view.kindField) size:\(data.count)"
    }

    private static func key(_ bytes: RawSpan) -> String {
        let shown = [UInt8](bytes.extracting(first: min(bytes.byteCount, keyBytesShown)))
        let text = shown.map { byte -> String in
            switch byte {
            case 0x22, 0x5c: "\\" + String(UnicodeScalar(byte))
            case 0x20..<0x7f: String(UnicodeScalar(byte))
            default: "\\x" + Hexadecimal.encode([byte])
            }
        }
        return "\"" + text.joined() + (bytes.byteCount > keyBytesShown ? "...\"" : "\"")
    }
}
