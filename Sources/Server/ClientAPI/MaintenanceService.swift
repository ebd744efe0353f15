// Maintenance: alarms, status, hashes, snapshots, what the cluster is at.

import Connections
import Foundations
import GRPC
import LMDBStore
import Linux
import MVCC
import State
import Telemetry
import Wire

extension ClientAPI {
    func addMaintenance() {
        add("/etcdserverpb.Maintenance/Alarm", AlarmRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity: Identity
            if request.action == .get {
                identity = try identify(caller)
                try state.auth.checkUser(identity)
            } else {
                identity = try requireAdmin(caller)
            }
            member.propose(RequestKind.alarm, request.encoded().rawSpan, identity: identity, reply)
        }
        add("/etcdserverpb.Maintenance/Status", StatusRequest.self) {
            [unowned self] (caller, _, reply) throws(GRPCStatus) in
            try requireUser(caller)
            answer(reply, status())
        }
        add("/etcdserverpb.Maintenance/Defragment", DefragmentRequest.self) {
            [unowned self] (caller, _, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            member.giveBackSpace { [unowned self] result in
                member.respond(reply, result.map { DefragmentResponse().encoded() }.mapError { GRPCStatus(.unknown, "\($0)") })
            }
        }
        add("/etcdserverpb.Maintenance/Hash", HashRequest.self) {
            [unowned self] (caller, _, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            let times = member.families?.mvcc.hashDurationSeconds
            hash(0, times, reply) { [unowned self] result in
                HashResponse(header: header(), hash: result.hash).encoded()
            }
        }
        add("/etcdserverpb.Maintenance/HashKV", HashKVRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            let times = member.families?.mvcc.hashRevDurationSeconds
            hash(request.revision, times, reply) { [unowned self] result in
                HashKVResponse(
                    header: header(), hash: result.hash, compactRevision: result.compactRevision,
                    hashRevision: result.revision
                ).encoded()
            }
        }
        add("/etcdserverpb.Maintenance/MoveLeader", MoveLeaderRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            guard member.isLeader else { throw EtcdError.notLeader }
            guard let target = state.membership[MemberID(request.targetID)], !target.isLearner else {
                throw EtcdError.badLeaderTransferee
            }
            moveLeader(to: target.id) { [unowned self] result in
                member.respond(reply, result.map { MoveLeaderResponse().encoded() })
            }
        }
        add("/etcdserverpb.Maintenance/Downgrade", DowngradeRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            _ = try requireAdmin(caller)
            try downgrade(request, reply)
        }
        add(stream: "/etcdserverpb.Maintenance/Snapshot") { [unowned self] caller, outlet in
            SnapshotStream(self, caller, outlet)
        }
    }

    func status() -> StatusResponse {
        var response = StatusResponse()
        response.header = header()
        response.version = member.settings.serverVersion
        response.dbSize = Int64(member.store.allocatedBytes)
        response.dbSizeInUse = Int64(member.store.usedBytes)
        response.leader = member.leader.rawValue
        response.isLearner = member.isLearner
        response.raftIndex = member.committed
        response.raftTerm = member.term
        response.raftAppliedIndex = state.appliedIndex
        response.errors =
            (member.hasLeader ? [] : [EtcdError.noLeader.message])
            + state.alarms.list().map { alarm in
                "memberID:\(alarm.member) alarm:\(alarm.type == .nospace ? "NOSPACE" : alarm.type == .corrupt ? "CORRUPT" : "NONE") "
            }
        response.dbSizeQuota = Int64(member.settings.quotaBytes ?? 0)
        response.storageVersion = ""
        var downgrade = DowngradeInfo()
        downgrade.enabled = state.membership.downgrade.isEnabled
        downgrade.targetVersion = state.membership.downgrade.target
        response.downgradeInfo = downgrade
        return response
    }

    /// The leader hands over and waits until the other one leads.
    private func moveLeader(to target: MemberID, _ done: @escaping (Result<Void, GRPCStatus>) -> Void) {
        guard target != member.identity.member else { return done(.success(())) }
        let deadline = member.loop.now + member.settings.requestTimeout
        member.transferLeadership(to: target)
        func look() {
            if member.leader == target { return done(.success(())) }
            guard member.loop.now < deadline, !member.isStopped else { return done(.failure(EtcdError.timeoutLeaderTransfer)) }
            member.loop.schedule(after: member.settings.heartbeat / 2, look)
        }
        look()
    }

    /// Hashes in slices between turns, so that a large store does not hold up others.
    private func hash(_ revision: Int64, _ times: Histogram?, _ reply: Reply, _ done: @escaping (StoreHash) -> Bytes) {
        let began = Linux.Clock.monotonic()
        hash(revision) { [unowned self] result in
            times?.observe(nanoseconds: Linux.Clock.monotonic() - began)
            member.respond(reply, result.map(done))
        }
    }

    func hash(_ revision: Int64, _ done: @escaping (Result<StoreHash, GRPCStatus>) -> Void) {
        // The hash that a compaction took stays the answer at its revision, after later compactions too.
        if let remembered = state.kv.compactionHash(revision) { return done(.success(remembered)) }
        do throws(KeyValueError) {
            continueHash(try state.kv.beginHash(revision), state.kv, done)
        } catch { done(.failure(GRPCStatus(error))) }
    }

    private func continueHash(
        _ job: HashJob, _ kv: KeyValueStore, _ done: @escaping (Result<StoreHash, GRPCStatus>) -> Void
    ) {
        // A snapshot may have replaced the store in between.
        guard kv === state.kv else { return done(.failure(EtcdError.timeout)) }
        var job = job
        do throws(KeyValueError) {
            if let result = try kv.hashStep(&job, budget: 20_000) {
                done(.success(result))
            } else {
                let next = job
                member.loop.schedule(after: 0) { [weak self] in self?.continueHash(next, kv, done) }
            }
        } catch { done(.failure(GRPCStatus(error))) }
    }

    private func downgrade(_ request: DowngradeRequest, _ reply: Reply) throws(GRPCStatus) {
        switch request.action {
        case .validate, .enable:
            guard let target = ClusterVersion(request.version.filter { $0 == "." }.count == 1 ? request.version + ".0" : request.version)
            else { throw EtcdError.wrongDowngradeVersionFormat }
            guard let current = state.membership.version else { throw EtcdError.clusterVersionNotFound }
            // A 3.4 member that finds the request in its log panics, and again at every start.
            guard current >= ClusterVersion(3, 5) else { throw EtcdError.notCapable }
            guard target.release == ClusterVersion(current.major, current.minor - 1) else {
                throw EtcdError.invalidDowngradeTargetVersion
            }
            guard !state.membership.downgrade.isEnabled else { throw EtcdError.downgradeInProgress }
            let answer = DowngradeResponse(header: header(), version: "\(current)")
            guard request.action == .enable else { return self.answer(reply, answer) }
            setDowngrade(enabled: true, "\(target.release)", reply, answer)
        case .cancel:
            let version = state.membership.version.map { "\($0)" } ?? ""
            let answer = DowngradeResponse(header: header(), version: version)
            guard state.membership.downgrade.isEnabled else { return self.answer(reply, answer) }
            setDowngrade(enabled: false, "", reply, answer)
        default: throw EtcdError.unknownMethod
        }
    }

    private func setDowngrade(enabled: Bool, _ target: String, _ reply: Reply, _ answer: DowngradeResponse) {
        var request = MembershipPB.DowngradeInfoSetRequest()
        request.enabled = enabled
        request.ver = target
        member.propose(
            RequestKind.downgradeInfoSet, request.encoded().rawSpan,
            .body { [unowned self] result in member.respond(reply, result.map { _ in answer.encoded() }) })
    }
}
