// Linearizable reads without a write: the leader confirms that it still leads and names the index up to which a member
// must have applied before it answers (ReadIndex). Reads that arrive while a question is under way share the next one.
//
//     linearizable(read) -> waiting -> (turn) asked under one token -> confirmed at an index -> applied there -> read runs

import Foundations
import GRPC
import Raft
import Wire

struct AskedReads {
    var token: Bytes
    var started: UInt64
    var lastAsked: UInt64
    var reads: [(started: UInt64, body: (GRPCStatus?) -> Void)]
}

struct ConfirmedReads {
    var index: LogIndex
    var asked: UInt64
    var confirmed: UInt64
    var reads: [(started: UInt64, body: (GRPCStatus?) -> Void)]
}

extension Member {
    /// Questions under way at a time: the second may start before the first is answered.
    private static let askedMax = 2
    private static let retryInterval: UInt64 = 500_000_000

    /// The applied state is as fresh as anybody was told: reads need not ask. A single voter acknowledges nothing that it
    /// has not applied.
    @inline(__always)
    package var readsAtOnce: Bool { leadsForSure && isAlone }

    /// Runs `body` when the applied state includes all that was acknowledged before this call; or with an error.
    package func linearizable(_ body: @escaping (GRPCStatus?) -> Void) {
        guard !isStopped, !isExpelled else { return body(EtcdError.stopped) }
        if readsAtOnce { return body(nil) }
        guard waitingReads.count < 100_000 else { return body(EtcdError.tooManyRequests) }
        waitingReads.append((loop.now, body))
        loop.turnAgain()
    }

    func askForReads() {
        guard !waitingReads.isEmpty, askedReads.count < Member.askedMax else { return }
        if readsAtOnce {
            let reads = waitingReads
            waitingReads = []
            for read in reads { read.body(nil) }
            return
        }
        guard raft.leader != .none else { return }
        let id = readIDs.next()
        let token = Bytes((0..<8).map { UInt8(truncatingIfNeeded: id >> UInt64(56 - 8 * $0)) })
        guard raft.readIndex(token) == .asked else { return }
        askedReads.append(AskedReads(token: token, started: loop.now, lastAsked: loop.now, reads: waitingReads))
        waitingReads = []
    }

    func confirmed(_ read: ReadState) {
        guard let position = askedReads.firstIndex(where: { $0.token == read.token }) else { return }
        let asked = askedReads.remove(at: position)
        confirmedReads.append(
            ConfirmedReads(index: read.index, asked: asked.started, confirmed: loop.now, reads: asked.reads))
        runConfirmedReads()
        askForReads()
    }

    func runConfirmedReads() {
        guard !confirmedReads.isEmpty else { return }
        let applied = state.appliedIndex
        guard confirmedReads.contains(where: { $0.index <= applied }) else { return }
        let ready = confirmedReads.filter { $0.index <= applied }
        confirmedReads.removeAll { $0.index <= applied }
        for group in ready {
            // The first of them has waited longest.
            if let first = group.reads.first {
                noteSlowRead(started: first.started, asked: group.asked, confirmed: group.confirmed)
            }
            for read in group.reads { read.body(nil) }
        }
    }

    /// The first entry of a term is committed: who asked before may not have been heard.
    func askAgain() {
        for i in askedReads.indices {
            askedReads[i].lastAsked = loop.now
            _ = raft.readIndex(askedReads[i].token)
        }
    }

    func failAskedReads(_ status: GRPCStatus) {
        let failed = askedReads
        askedReads = []
        for asked in failed {
            metrics.readIndexesFailed += UInt64(asked.reads.count)
            for read in asked.reads { read.body(status) }
        }
    }

    func failReads(_ status: GRPCStatus) {
        failAskedReads(status)
        let waiting = waitingReads, confirmed = confirmedReads
        waitingReads = []
        confirmedReads = []
        for read in waiting { read.body(status) }
        for group in confirmed { for read in group.reads { read.body(status) } }
    }

    /// Every heartbeat: asks again where an answer may have been lost, and gives up where the time is over.
    func expireReads(_ now: UInt64) {
        let deadline = settings.requestTimeout
        if let first = waitingReads.first, now &- first.started > deadline {
            let over = waitingReads.filter { now &- $0.started > deadline }
            waitingReads.removeAll { now &- $0.started > deadline }
            for read in over { read.body(timeoutReason(started: read.started)) }
        }
        var i = 0
        while i < askedReads.count {
            if now &- askedReads[i].started > deadline {
                let asked = askedReads.remove(at: i)
                for read in asked.reads { read.body(timeoutReason(started: read.started)) }
                continue
            }
            if now &- askedReads[i].lastAsked > Member.retryInterval {
                askedReads[i].lastAsked = now
                metrics.slowReadIndexes += 1
                _ = raft.readIndex(askedReads[i].token)
            }
            i += 1
        }
    }
}
