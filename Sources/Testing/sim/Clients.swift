// Clients that do one thing at a time, on any member, and write down what they saw.

import Foundations
import Raft

struct Clients {
    private struct Client {
        var command: Command?
        var operation = 0
        var host = MemberID.none
        /// What it saw last of each register, so that a compare-and-swap has a chance.
        var seen = [UInt64](repeating: 0, count: RegisterStore.keys)
    }

    private var clients: [Client]
    private var random: SeededRandom
    private var operations: [HistoryOperation] = []
    /// Refused before anything could happen.
    private var void: Set<Int> = []
    /// Orders calls and returns.
    private var moment = 0
    private(set) var completed = 0
    private(set) var finalCompleted: [Int]
    private var isFinal = false

    init(count: Int, random: SeededRandom) {
        clients = [Client](repeating: Client(), count: count)
        finalCompleted = [Int](repeating: 0, count: count)
        self.random = random
    }

    mutating func beginFinal() { isFinal = true }

    /// Returns what to submit, and where: the world calls the host, which may answer at once.
    mutating func next(_ client: Int, hosts: [MemberID]) -> (Command, MemberID)? {
        guard clients[client].command == nil, !hosts.isEmpty else { return nil }
        let id = UInt64(operations.count + 1)
        let key = Int.random(in: 0..<RegisterStore.keys, using: &random)
        let operation: Command.Operation =
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4: .read
            case 4..<6: .write(id)
            case 6..<9: .append(id)
            default: .compareAndSwap(expected: clients[client].seen[key], new: id)
            }
        let command = Command(id: id, key: key, operation: operation)
        moment += 1
        clients[client].command = command
        clients[client].operation = operations.count
        clients[client].host = hosts[Int.random(in: 0..<hosts.count, using: &random)]
        operations.append(HistoryOperation(command: command, call: moment, end: nil, outcome: nil))
        return (command, clients[client].host)
    }

    mutating func finish(_ client: Int, _ outcome: Outcome) {
        guard let command = clients[client].command else { return }
        moment += 1
        operations[clients[client].operation].end = moment
        operations[clients[client].operation].outcome = outcome
        clients[client].seen[command.key] = outcome.value
        clients[client].command = nil
        completed += 1
        if isFinal { finalCompleted[client] += 1 }
    }

    /// The result stays unknown; a read without a result says nothing.
    mutating func abandon(_ client: Int, neverHappened: Bool) {
        guard let command = clients[client].command else { return }
        if neverHappened || command.operation == .read { void.insert(clients[client].operation) }
        clients[client].command = nil
    }

    /// Where the operation with this id waits; nil when it does not any more.
    func host(of client: Int, command: UInt64) -> MemberID? {
        clients[client].command?.id == command ? clients[client].host : nil
    }

    mutating func thinkTime() -> Microseconds { Int.random(in: 1_000...25_000, using: &random) }

    /// What can be judged. Of the operations with unknown results only those that were applied happened at all.
    func history(wasApplied: (UInt64) -> Bool) -> [HistoryOperation] {
        operations.enumerated().filter { position, operation in
            !void.contains(position) && (operation.end != nil || wasApplied(operation.command.id))
        }.map(\.element)
    }
}

extension World {
    private static let patience: Microseconds = 600_000

    func beginOperation(_ client: Int) {
        let members = hosts.filter { $0.isUp && $0.node!.raft.confState.contains($0.id) }.map(\.id)
        guard let (command, target) = clients.next(client, hosts: members) else {
            return schedule(after: 20_000, .client(client))
        }
        schedule(after: Self.patience, .clientTimeout(client, command.id))
        host(target).submit(command, client: client)
    }

    func clientDone(_ client: Int, _ outcome: Outcome) {
        clients.finish(client, outcome)
        schedule(after: clients.thinkTime(), .client(client))
    }

    func clientRefused(_ client: Int) {
        clients.abandon(client, neverHappened: true)
        schedule(after: clients.thinkTime(), .client(client))
    }

    func clientGaveUp(_ client: Int) {
        clients.abandon(client, neverHappened: false)
        schedule(after: clients.thinkTime(), .client(client))
    }

    func clientTimedOut(_ client: Int, _ command: UInt64) {
        guard let target = clients.host(of: client, command: command) else { return }
        host(target).forget(command)
        clientGaveUp(client)
    }
}
