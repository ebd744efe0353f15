// What a member says of itself once it serves: its name and where clients reach it. Repeated until it is applied; a member
// serves clients only after that, so that whoever is told of it finds it.

import Foundations
import GRPC
import State
import Wire

package final class Publication {
    private let member: Member
    private let name: String
    private let clientURLs: [String]
    private let done: () -> Void

    package init(_ member: Member, name: String, clientURLs: [String], done: @escaping () -> Void) {
        self.member = member
        self.name = name
        self.clientURLs = clientURLs
        self.done = done
    }

    package func start() {
        guard !member.isStopped else { return }
        if let own = member.state.membership[member.identity.member], own.name == name, own.clientURLs == clientURLs {
            return done()
        }
        var own = member.state.membership[member.identity.member] ?? State.Member(id: member.identity.member, peerURLs: [])
        own.name = name
        own.clientURLs = clientURLs
        let id = member.registerID(.body { [self] result in
            switch result {
            case .success:
                if member.state.membership[member.identity.member]?.name == name { return done() }
                again()
            case .failure: again()
            }
        })
        member.proposeEntry(LegacyEntry.publish(requestID: id, own))
    }

    /// Before this member knows that it is one, or without a quorum, nothing comes of it.
    private func again() {
        guard !member.isStopped else { return }
        member.loop.schedule(after: 100_000_000) { self.start() }
    }
}
