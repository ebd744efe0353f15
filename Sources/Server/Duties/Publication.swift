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
    private var isDone = false

    package init(_ member: Member, name: String, clientURLs: [String], done: @escaping () -> Void) {
        self.member = member
        self.name = name
        self.clientURLs = clientURLs
        self.done = done
    }

    package func start() {
        guard !member.isStopped, !isDone else { return }
        guard let own = member.state.membership[member.identity.member] else { return again() }
        if own.name == name && own.clientURLs == clientURLs {
            isDone = true
            return done()
        }
        var wanted = own
        wanted.name = name
        wanted.clientURLs = clientURLs
        let id = member.registerID(.body { [self] result in if case .success = result { start() } })
        member.proposeEntry(LegacyEntry.publish(requestID: id, wanted))
        again()
    }

    /// Without a leader, or on the way to it, the proposal may be lost; saying it twice does no harm.
    private func again() {
        member.loop.schedule(after: 500_000_000) { self.start() }
    }
}
