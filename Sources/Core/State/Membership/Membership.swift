// The list of members and the cluster-wide facts that travel with it: who was removed for good, the cluster version, an
// ongoing downgrade (raft-semantics 14, apply-semantics 7).
//
// A change is proposed as a configuration change entry and checked again when it is applied, with the same result on
// every member, because raft's own configuration must follow exactly when the change is accepted. A refused change
// still goes to raft, as one that names nobody.

import Foundations
import GRPC
import MVCC

package struct Membership {
    package struct Downgrade: Equatable, Sendable {
        package var isEnabled = false
        package var target = ""

        package init(isEnabled: Bool = false, target: String = "") {
            self.isEnabled = isEnabled
            self.target = target
        }
    }

    /// What a configuration change entry wants.
    package enum Change: Equatable, Sendable, CustomStringConvertible {
        case add(Member)
        /// A learner becomes a voter.
        case promote(MemberID)
        case remove(MemberID)
        /// New peer URLs. Not a change for raft.
        case update(MemberID, peerURLs: [String])

        package var description: String {
            switch self {
            case .add(let member):
                "\(member.isLearner ? "added learner" : "added member") \(member.id) at \(member.peerURLs.joined(separator: ","))"
            case .promote(let id): "promoted learner \(id)"
            case .remove(let id): "removed member \(id)"
            case .update(let id, let urls): "member \(id) is now at \(urls.joined(separator: ","))"
            }
        }

        package var id: MemberID {
            switch self {
            case .add(let member): member.id
            case .promote(let id), .remove(let id), .update(let id, _): id
            }
        }
    }

    package static let learnersMaxDefault = 1

    package let learnersMax: Int
    private var byID: [MemberID: Member] = [:]
    package private(set) var removed: Set<MemberID> = []
    package private(set) var version: ClusterVersion?
    package private(set) var downgrade = Downgrade()

    package init(learnersMax: Int = learnersMaxDefault) { self.learnersMax = learnersMax }

    /// Takes over what a snapshot's document says, in place of everything known before.
    package init(
        learnersMax: Int = learnersMaxDefault, members: [Member], removed: Set<MemberID>, version: ClusterVersion?,
        downgrade: Downgrade = Downgrade()
    ) {
        self.learnersMax = learnersMax
        for member in members { byID[member.id] = member }
        self.removed = removed
        self.version = version
        self.downgrade = downgrade
    }

    /// In the order of their ids.
    package var members: [Member] { byID.values.sorted { $0.id < $1.id } }
    package var voters: [Member] { members.filter { !$0.isLearner } }
    package subscript(id: MemberID) -> Member? { byID[id] }

    // MARK: configuration changes

    /// The checks of an entry, in order. The API may ask before it proposes; what counts is the answer at apply.
    package func check(_ change: Change) throws(GRPCStatus) {
        guard !removed.contains(change.id) else { throw EtcdError.memberNotFound }
        switch change {
        case .add(let member):
            guard byID[member.id] == nil else { throw EtcdError.memberExists }
            guard !isUsed(member.peerURLs, exceptBy: nil) else { throw EtcdError.peerURLExists }
            if member.isLearner {
                guard byID.values.count(where: \.isLearner) < learnersMax else { throw EtcdError.tooManyLearners }
            }
        case .promote(let id):
            guard let member = byID[id] else { throw EtcdError.memberNotFound }
            guard member.isLearner else { throw EtcdError.memberNotLearner }
        case .remove(let id):
            guard byID[id] != nil else { throw EtcdError.memberNotFound }
        case .update(let id, let peerURLs):
            guard byID[id] != nil else { throw EtcdError.memberNotFound }
            guard !isUsed(peerURLs, exceptBy: id) else { throw EtcdError.peerURLExists }
        }
    }

    package mutating func apply(_ change: Change, into batch: inout StoreBatch) throws(GRPCStatus) {
        try check(change)
        switch change {
        case .add(let member):
            put(member, into: &batch)
        case .promote(let id):
            guard var member = byID[id] else { unreachable("checked") }
            member.isLearner = false
            put(member, into: &batch)
        case .remove(let id):
            byID[id] = nil
            removed.insert(id)
            batch.delete(.members, Membership.storeKey(id))
            batch.put(.membersRemoved, Membership.storeKey(id), Bytes("removed".utf8))
        case .update(let id, let peerURLs):
            guard var member = byID[id] else { unreachable("checked") }
            // Nothing but the URLs: a learner stays one, whatever the entry says. (Releases before 3.5.30 made it a
            // voter in this list while raft went on treating it as a learner.)
            member.peerURLs = peerURLs
            put(member, into: &batch)
        }
    }

    private func isUsed(_ peerURLs: [String], exceptBy id: MemberID?) -> Bool {
        byID.values.contains { member in member.id != id && member.peerURLs.contains { peerURLs.contains($0) } }
    }

    // MARK: facts that normal entries change

    /// A started member publishes its name and client URLs. False when it is not (or no longer) a member: the entry
    /// is then without effect.
    package mutating func publish(
        _ id: MemberID, name: String, clientURLs: [String], into batch: inout StoreBatch
    ) -> Bool {
        guard var member = byID[id] else { return false }
        member.name = name
        member.clientURLs = clientURLs
        put(member, into: &batch)
        return true
    }

    package mutating func setVersion(_ version: ClusterVersion, into batch: inout StoreBatch) {
        self.version = version
        batch.put(.cluster, Membership.versionKey, Bytes(version.description.utf8))
    }

    package mutating func setDowngrade(_ downgrade: Downgrade, into batch: inout StoreBatch) {
        self.downgrade = downgrade
        batch.put(.cluster, Membership.downgradeKey, downgrade.json)
    }

    // MARK: strict reconfiguration: what a proposer checks beforehand (client-semantics 9)

    /// How well the member that is asked reaches another one: not at all, since a moment, for five seconds and more.
    package enum Reach: Sendable { case away, recent, steady }

    /// `reach` of the member itself is steady.
    package func checkReconfiguration(_ change: Change, reach: (MemberID) -> Reach) throws(GRPCStatus) {
        let voters = self.voters
        let started = voters.count(where: \.isStarted)
        let connected = voters.count { reach($0.id) == .steady }
        switch change {
        case .add(let member):
            if !member.isLearner {
                let mayGrowToTwo = started == 1 && voters.count == 1
                guard mayGrowToTwo || started >= Membership.quorum(voters.count + 1) else {
                    throw EtcdError.notEnoughStartedMembers
                }
            }
            // A single member may grow; otherwise the voters must be a quorum even while the new one is down.
            let needed = voters.count == 1 ? 1 : Membership.quorum(voters.count + (member.isLearner ? 0 : 1))
            guard connected >= needed else { throw EtcdError.unhealthy }
        case .promote:
            guard started + 1 >= Membership.quorum(voters.count + 1) else { throw EtcdError.notEnoughStartedMembers }
        case .remove(let id):
            guard let target = byID[id], !target.isLearner else { return }
            let startedRest = voters.count { $0.isStarted && $0.id != id }
            guard startedRest >= Membership.quorum(voters.count - 1) else { throw EtcdError.notEnoughStartedMembers }
            // One that cannot be reached is no part of the quorum that works. One that just came back is.
            guard reach(id) != .away else { return }
            guard connected - 1 >= Membership.quorum(voters.count - 1) else { throw EtcdError.unhealthy }
        case .update:
            return
        }
    }

    static func quorum(_ voters: Int) -> Int { voters / 2 + 1 }

    // MARK: persistence

    private static let versionKey = Bytes("clusterVersion".utf8)
    private static let downgradeKey = Bytes("downgrade".utf8)

    package mutating func restore(_ view: any StoreView) {
        self = Membership(learnersMax: learnersMax)
        view.scan(.members, from: [], to: nil) { key, value in
            guard let member = Member(json: Bytes(value)) else {
                unreachable("a stored member does not parse: \(String(decoding: Bytes(value), as: UTF8.self))")
            }
            byID[member.id] = member
            return true
        }
        view.scan(.membersRemoved, from: [], to: nil) { key, _ in
            guard let id = MemberID(hexadecimal: String(decoding: Bytes(key), as: UTF8.self)) else {
                unreachable("a removed member's key is no id: \(Hexadecimal.encode(Bytes(key)))")
            }
            removed.insert(id)
            return true
        }
        view.get(.cluster, Membership.versionKey.rawSpan) { value in
            if let value { version = ClusterVersion(String(decoding: Bytes(value), as: UTF8.self)) }
        }
        view.get(.cluster, Membership.downgradeKey.rawSpan) { value in
            if let value, let stored = Downgrade(json: Bytes(value)) { downgrade = stored }
        }
    }

    /// Writes everything, replacing what the tables hold: after a snapshot whose document is the authority.
    package func storeAll(into batch: inout StoreBatch) {
        batch.clear(.members)
        batch.clear(.membersRemoved)
        batch.clear(.cluster)
        for member in members { batch.put(.members, Membership.storeKey(member.id), member.json) }
        for id in removed.sorted() { batch.put(.membersRemoved, Membership.storeKey(id), Bytes("removed".utf8)) }
        if let version { batch.put(.cluster, Membership.versionKey, Bytes(version.description.utf8)) }
        if downgrade != Downgrade() { batch.put(.cluster, Membership.downgradeKey, downgrade.json) }
    }

    private mutating func put(_ member: Member, into batch: inout StoreBatch) {
        byID[member.id] = member
        batch.put(.members, Membership.storeKey(member.id), member.json)
    }

    private static func storeKey(_ id: MemberID) -> Bytes { Bytes(id.description.utf8) }
}
