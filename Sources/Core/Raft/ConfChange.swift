// A change of the configuration, as the driver decoded it from a committed entry. One step is applied at once (old and
// new majorities overlap); several steps go through a joint configuration:
//
//      plain --(several steps, or asked for)--> joint --(empty change)--> plain
//                                                 ^ proposed by the leader itself when autoLeave

import Foundations

package struct ConfChange: Equatable, Sendable {
    /// Raw values as on the wire.
    package enum Kind: UInt8, Sendable {
        case addNode = 0
        case removeNode = 1
        /// New addresses; nothing to do for consensus.
        case updateNode = 2
        case addLearnerNode = 3
    }

    package enum Transition: UInt8, Sendable {
        case auto = 0
        case jointImplicit = 1
        case jointExplicit = 2
    }

    package struct Step: Equatable, Sendable {
        package var kind: Kind
        package var node: MemberID

        package init(_ kind: Kind, _ node: MemberID) {
            self.kind = kind
            self.node = node
        }
    }

    package var transition: Transition
    package var steps: [Step]

    package init(_ steps: [Step], transition: Transition = .auto) {
        self.steps = steps
        self.transition = transition
    }

    package init(_ kind: Kind, _ node: MemberID) { self.init([Step(kind, node)]) }

    /// A change that was found invalid when applied: consumes its index and opens the gate for the next, nothing else.
    package static let nothing = ConfChange(.addNode, .none)

    package var leavesJoint: Bool { steps.isEmpty && transition == .auto }
    var entersJoint: Bool { steps.count > 1 || transition != .auto }
}

extension ConfState {
    /// The configuration after `change`. The driver has checked that it makes sense for the member list.
    package func applying(_ change: ConfChange) -> ConfState {
        var next = self
        if change.leavesJoint {
            invariant(isJoint, "a change leaves a joint configuration that is not there")
            next.leaveJoint()
        } else if change.entersJoint {
            invariant(!isJoint, "a change enters a joint configuration from a joint one")
            next.votersOutgoing = voters
            next.autoLeave = change.transition != .jointExplicit
            for step in change.steps { next.apply(step) }
        } else {
            invariant(!isJoint || change == .nothing, "a plain change while the configuration is joint")
            for step in change.steps { next.apply(step) }
        }
        invariant(!next.voters.isEmpty || voters.isEmpty, "a change removes the last voter")
        next.check()
        return next
    }

    private mutating func apply(_ step: ConfChange.Step) {
        guard step.node != .none else { return }
        switch step.kind {
        case .addNode:
            learners.removeAll { $0 == step.node }
            learnersNext.removeAll { $0 == step.node }
            voters.insertSorted(step.node)
        case .addLearnerNode:
            voters.removeAll { $0 == step.node }
            if votersOutgoing.contains(step.node) {
                learnersNext.insertSorted(step.node)
            } else {
                learners.insertSorted(step.node)
            }
        case .removeNode:
            voters.removeAll { $0 == step.node }
            learners.removeAll { $0 == step.node }
            learnersNext.removeAll { $0 == step.node }
        case .updateNode:
            break
        }
    }

    private mutating func leaveJoint() {
        for id in learnersNext { learners.insertSorted(id) }
        votersOutgoing = []
        learnersNext = []
        autoLeave = false
    }

    func check() {
        invariant(!learners.contains { isVoter($0) }, "a learner votes: \(self)")
        invariant(learnersNext.allSatisfy { votersOutgoing.contains($0) }, "a next learner is no outgoing voter: \(self)")
        invariant(isJoint || (learnersNext.isEmpty && !autoLeave), "a plain configuration with joint parts: \(self)")
    }
}

extension Array where Element == MemberID {
    fileprivate mutating func insertSorted(_ id: MemberID) {
        let place = firstIndex { $0 >= id } ?? count
        if place == count || self[place] != id { insert(id, at: place) }
    }
}
