// What goes wrong, and the operator who changes the membership meanwhile.

import Foundations
import Raft

extension World {
    private func someHost() -> Host { hosts[Int.random(in: 0..<hosts.count, using: &random)] }

    func injectFault() {
        switch Int.random(in: 0..<13, using: &random) {
        case 0..<4 where plan.crashes: crash(someHost())
        case 4 where plan.crashes:
            for host in hosts where random.chance(2, in: 3) { crash(host) }
        case 5..<7 where plan.partitions: partition()
        case 7: network.heal()
        case 8 where plan.pauses:
            let host = someHost()
            host.pausedUntil = now + Int.random(in: 10_000...600_000, using: &random)
            log(host.id, "is paused until \(host.pausedUntil)")
        case 9:
            let host = someHost()
            host.isDiskSlow.toggle()
        case 10 where plan.transfers: transfer()
        case 11: someHost().drift(using: &random)
        case 12 where plan.refusals: tellGone(someHost())
        default: break
        }
    }

    private func crash(_ host: Host) {
        guard host.isUp else { return }
        host.crash()
        if plan.refusals { tellGone(host) }
        schedule(after: Int.random(in: 1_000...800_000, using: &random), .start(host.id))
    }

    /// Most of the others notice, each in its time.
    private func tellGone(_ gone: Host) {
        for host in hosts where host.id != gone.id && host.isUp && random.chance(3, in: 4) {
            schedule(after: Int.random(in: 100...plan.tick, using: &random), .goneReport(host.id, host.life, gone.id))
        }
    }

    private func partition() {
        var side: [MemberID] = []
        var others: [MemberID] = []
        let aim = random.chance(1, in: 3) ? leader?.id : nil
        for host in hosts {
            let isInside = aim.map { $0 == host.id } ?? random.chance(1, in: 2)
            if isInside { side.append(host.id) } else { others.append(host.id) }
        }
        let bothWays = random.chance(2, in: 3)
        note("cut \(side) \(bothWays ? "<->" : "->") \(others)")
        network.split(side, from: others, bothWays: bothWays)
    }

    private func transfer() {
        guard let leader, leader.pausedUntil <= now else { return }
        let voters = leader.node!.raft.confState.voters
        leader.transfer(to: voters[Int.random(in: 0..<voters.count, using: &random)])
    }

    /// Adds, promotes, removes; at most a handful of members, never below one voter.
    func operate() {
        retireRemoved()
        guard isFaulty, let leader, leader.pausedUntil <= now else { return }
        let conf = leader.node!.raft.confState
        if let learner = conf.learners.first, random.chance(2, in: 3) {
            let status = leader.node!.raft.peerStatus.first { $0.id == learner }
            guard let status, status.match * 10 >= leader.node!.raft.lastIndex * 9 else { return }
            return leader.propose(.addNode, learner)
        }
        let members = conf.members
        if members.count < 6 && random.chance(1, in: 2) {
            guard hosts.count < 12 else { return }
            let newcomer = addHost()
            newcomer.start()
            // Straight as a voter is allowed, and harder.
            return leader.propose(random.chance(1, in: 3) ? .addNode : .addLearnerNode, newcomer.id)
        }
        guard members.count > 1 else { return }
        let leaver = members[Int.random(in: 0..<members.count, using: &random)]
        // The operator's own check: those who stay can go on without the leaver.
        let staying = conf.voters.filter { $0 != leaver }
        let ready = leader.node!.raft.peerStatus.filter { staying.contains($0.id) && $0.isRecentlyActive }
        guard !staying.isEmpty, ready.count > staying.count / 2 else { return }
        leader.propose(.removeNode, leaver)
        if random.chance(1, in: 2), let next = members.first(where: { $0 != leaver }) {
            leader.propose(.removeNode, next)  // The gate must stop this one.
        }
    }

    /// A removed member stops when those who stay know it; before, they may need it to learn that it is gone.
    private func retireRemoved() {
        for host in hosts where !host.isStoppedForGood && host.isUp {
            guard let removedAt = host.removedAt else { continue }
            let staying = host.node!.raft.confState.voters
            guard staying.allSatisfy({ self.host($0).applied >= removedAt }) else { continue }
            log(host.id, "is removed and stops")
            host.isStoppedForGood = true
            host.crash()
        }
    }
}
