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
        let limit = settings.slowRequest
        guard
            loop.now &- waiter.started > limit || lastSync.ended > waiter.started && lastSync.took > limit / 2
                || state.kv.changes.count > 1000
        else { return }
        let now = Linux.Clock.monotonic()
        let took = now &- waiter.started
        guard took > settings.slowRequest, now > waiter.started else { return }
        metrics.slowApplies += 1
        // A sync inside this turn is over before anything is applied.
        let turn = max(loop.now, waiter.started, lastSync.ended)
        warn(
            "apply request took too long",
            [
                ("took", milliseconds(took)), ("expected-duration", milliseconds(settings.slowRequest)), ("prefix", ""),
                ("request", SlowRequest.text(data)), ("response", "size:\(answer)"),
                ("until-committed", milliseconds(turn - waiter.started)), ("applying", milliseconds(now &- turn)),
                ("last-fdatasync", lastSync.ended >= waiter.started ? milliseconds(lastSync.took) : "before it"),
                ("pending", "\(waiters.count)"),
            ])
    }

    func noteSlowRead(started: UInt64, asked: UInt64, confirmed: UInt64) {
        let took = loop.now &- started
        guard took > settings.slowRequest, loop.now > started else { return }
        warn(
            "linearizable read took too long",
            [
                ("took", milliseconds(took)), ("expected-duration", milliseconds(settings.slowRequest)),
                ("until-asked", milliseconds(max(asked, started) - started)),
                ("until-confirmed", milliseconds(max(confirmed, asked) - asked)),
                ("until-applied", milliseconds(loop.now &- max(confirmed, asked))),
            ])
    }

    private func milliseconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1_000_000)ms" }
}

/// A proposed request in one line.
enum SlowRequest {
    private static let keyBytesShown = 128

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
