// What the simulated members replicate. The simulator knows it only through `SimulatedStore`, so that the real state
// machine can take this one's place.

import Foundations
import Raft

/// What a client asks for. Values are folded (`append` gives old * 31 + value), so that a register remembers the order
/// of everything that was done to it.
struct Command: Equatable {
    enum Operation: Equatable {
        case read
        case write(UInt64)
        case append(UInt64)
        case compareAndSwap(expected: UInt64, new: UInt64)
    }

    var id: UInt64
    var key: Int
    var operation: Operation
}

/// What it got: the value it found or left, and whether a compare-and-swap swapped.
struct Outcome: Equatable {
    var value: UInt64
    var succeeded: Bool
}

protocol SimulatedStore {
    init()
    init(snapshot: Bytes)
    mutating func apply(_ command: Command) -> Outcome
    func read(key: Int) -> UInt64
    func snapshot() -> Bytes
    /// Equal on all members that have applied the same commands.
    var digest: UInt64 { get }
}

struct RegisterStore: SimulatedStore {
    static let keys = 5

    private var values = [UInt64](repeating: 0, count: keys)
    private(set) var digest: UInt64 = 0

    init() {}

    init(snapshot: Bytes) {
        var reader = WordReader(snapshot)
        digest = reader.next()
        for key in values.indices { values[key] = reader.next() }
    }

    func snapshot() -> Bytes {
        var words = WordWriter()
        words.add(digest)
        for value in values { words.add(value) }
        return words.bytes
    }

    func read(key: Int) -> UInt64 { values[key] }

    mutating func apply(_ command: Command) -> Outcome {
        let outcome = Self.perform(command.operation, on: values[command.key])
        values[command.key] = outcome.after
        digest = (digest &* 1_000_003) ^ command.id &+ outcome.after
        return outcome.result
    }

    /// The sequential meaning of the operations, which the checker of histories uses too.
    static func perform(_ operation: Command.Operation, on value: UInt64) -> (after: UInt64, result: Outcome) {
        switch operation {
        case .read:
            (value, Outcome(value: value, succeeded: true))
        case .write(let new):
            (new, Outcome(value: new, succeeded: true))
        case .append(let more):
            (value &* 31 &+ more, Outcome(value: value &* 31 &+ more, succeeded: true))
        case .compareAndSwap(let expected, let new):
            value == expected
                ? (new, Outcome(value: new, succeeded: true)) : (value, Outcome(value: value, succeeded: false))
        }
    }
}

// MARK: - Payloads

/// What an entry carries in the simulation.
enum Payload: Equatable {
    case command(Command)
    case change(ConfChange.Kind, MemberID)

    func encoded() -> Bytes {
        var words = WordWriter()
        switch self {
        case .command(let command):
            let (kind, a, b): (UInt64, UInt64, UInt64) =
                switch command.operation {
                case .read: (0, 0, 0)
                case .write(let value): (1, value, 0)
                case .append(let value): (2, value, 0)
                case .compareAndSwap(let expected, let new): (3, expected, new)
                }
            for word in [0, command.id, UInt64(command.key), kind, a, b] { words.add(word) }
        case .change(let kind, let node):
            for word in [1, UInt64(kind.rawValue), node.rawValue] { words.add(word) }
        }
        return words.bytes
    }

    init(_ bytes: Bytes) {
        var reader = WordReader(bytes)
        if reader.next() == 1 {
            self = .change(ConfChange.Kind(rawValue: UInt8(reader.next()))!, MemberID(reader.next()))
            return
        }
        let id = reader.next()
        let key = Int(reader.next())
        let kind = reader.next()
        let (a, b) = (reader.next(), reader.next())
        let operation: Command.Operation =
            switch kind {
            case 0: .read
            case 1: .write(a)
            case 2: .append(a)
            default: .compareAndSwap(expected: a, new: b)
            }
        self = .command(Command(id: id, key: key, operation: operation))
    }
}

struct WordWriter {
    private(set) var bytes: Bytes = []

    mutating func add(_ word: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
    }
}

struct WordReader {
    private let bytes: Bytes
    private var position = 0

    init(_ bytes: Bytes) { self.bytes = bytes }

    mutating func next() -> UInt64 {
        var word: UInt64 = 0
        for i in 0..<8 { word |= UInt64(bytes[position + i]) << UInt64(8 * i) }
        position += 8
        return word
    }
}
