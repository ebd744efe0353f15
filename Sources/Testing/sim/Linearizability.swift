// Checks that a history of operations on one register could have happened one after the other, each at some moment
// between its call and its return (Wing and Gong), remembering positions already tried (Lowe). Operations that never
// returned may have happened at any time after their call.

struct HistoryOperation {
    var command: Command
    var call: Int
    /// Nil: the client gave up; the result is unknown.
    var end: Int?
    var outcome: Outcome?
}

enum Linearizability {
    /// Nil when the history is linearizable; otherwise the operations around the place where no order fits.
    static func check(_ history: [HistoryOperation]) -> [HistoryOperation]? {
        var byKey: [Int: [HistoryOperation]] = [:]
        for operation in history { byKey[operation.command.key, default: []].append(operation) }
        for key in byKey.keys.sorted() {
            var search = Search(byKey[key]!)
            if let blocked = search.run() { return blocked }
        }
        return nil
    }

    private struct Position: Hashable {
        var done: [UInt64]
        var value: UInt64
    }

    /// A list of calls and returns in order of time; taking an operation removes both, going back puts them in again.
    private struct Search {
        private struct Node {
            var operation: Int
            var isCall: Bool
            var previous: Int
            var next: Int
        }

        private let operations: [HistoryOperation]
        private var nodes: [Node] = []
        private var returnOf: [Int]

        init(_ operations: [HistoryOperation]) {
            self.operations = operations
            returnOf = [Int](repeating: 0, count: operations.count)
            var moments: [(time: Int, isCall: Bool, operation: Int)] = []
            for (i, operation) in operations.enumerated() {
                moments.append((operation.call, true, i))
                moments.append((operation.end ?? .max, false, i))
            }
            // At equal times calls come first: that allows more orders, never fewer.
            moments.sort { ($0.time, $0.isCall ? 0 : 1, $0.operation) < ($1.time, $1.isCall ? 0 : 1, $1.operation) }
            // Node 0 is the head; the last one ends the list.
            nodes.append(Node(operation: -1, isCall: true, previous: 0, next: 1))
            for (i, moment) in moments.enumerated() {
                nodes.append(Node(operation: moment.operation, isCall: moment.isCall, previous: i, next: i + 2))
                if !moment.isCall { returnOf[moment.operation] = i + 1 }
            }
            nodes.append(Node(operation: -1, isCall: false, previous: moments.count, next: 0))
        }

        private mutating func unlink(_ node: Int) {
            nodes[nodes[node].previous].next = nodes[node].next
            nodes[nodes[node].next].previous = nodes[node].previous
        }

        private mutating func relink(_ node: Int) {
            nodes[nodes[node].previous].next = node
            nodes[nodes[node].next].previous = node
        }

        mutating func run() -> [HistoryOperation]? {
            let end = nodes.count - 1
            var unfinished = operations.reduce(0) { $0 + ($1.end == nil ? 0 : 1) }
            var value: UInt64 = 0
            var done = [UInt64](repeating: 0, count: operations.count / 64 + 1)
            var tried: Set<Position> = []
            var taken: [(node: Int, value: UInt64)] = []
            var farthest: (time: Int, place: Int) = (-1, 0)
            var at = nodes[0].next
            while unfinished > 0 {
                if at != end && nodes[at].isCall {
                    let i = nodes[at].operation
                    let (after, result) = RegisterStore.perform(operations[i].command.operation, on: value)
                    if operations[i].outcome == nil || operations[i].outcome == result {
                        done[i / 64] |= 1 << UInt64(i % 64)
                        if tried.insert(Position(done: done, value: after)).inserted {
                            taken.append((at, value))
                            value = after
                            if operations[i].end != nil { unfinished -= 1 }
                            unlink(at)
                            unlink(returnOf[i])
                            at = nodes[0].next
                            continue
                        }
                        done[i / 64] &= ~(1 << UInt64(i % 64))
                    }
                    at = nodes[at].next
                    continue
                }
                // A return that comes before its operation was taken: some choice before was wrong.
                if at != end, let time = operations[nodes[at].operation].end, time > farthest.time {
                    farthest = (time, nodes[at].operation)
                }
                guard let (node, before) = taken.popLast() else {
                    let place = operations[farthest.place]
                    return operations.filter { $0.call <= (place.end ?? .max) && ($0.end ?? .max) >= place.call }
                }
                let i = nodes[node].operation
                relink(returnOf[i])
                relink(node)
                done[i / 64] &= ~(1 << UInt64(i % 64))
                if operations[i].end != nil { unfinished += 1 }
                value = before
                at = nodes[node].next
            }
            return nil
        }
    }
}
