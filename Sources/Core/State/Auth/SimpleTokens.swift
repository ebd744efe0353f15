// Simple tokens: sixteen random letters, a dot, and the index of the log entry that made the token valid. The letters
// are chosen by the member that checked the password; every member computes the same token when it applies the entry.
// A token lives in memory only, for `timeToLive` since it was last used, and ends when its user is deleted or gets
// another password, and when authentication is switched off.

import Foundations

package struct SimpleTokens {
    package static let prefixLength = 16
    package static let defaultTimeToLive: Nanoseconds = 300 * .second

    private struct Token {
        var text: Bytes
        var user: Bytes
        var deadline: Nanoseconds
        var generation: UInt32
        var isLive: Bool
    }

    private let timeToLive: Nanoseconds
    private var slots: [Bytes: UInt32] = [:]
    private var tokens: [Token] = []
    private var free: [UInt32] = []
    private var deadlines = ExpiryQueue()

    package init(timeToLive: Nanoseconds = SimpleTokens.defaultTimeToLive) { self.timeToLive = timeToLive }

    package var count: Int { slots.count }

    /// Letters for a new token. The generator must be a secure one: who guesses the letters is the user.
    package static func makePrefix(using generator: inout some RandomNumberGenerator) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        let text = (0..<prefixLength).map { _ in letters[Int.random(in: 0..<letters.count, using: &generator)] }
        return String(decoding: text, as: UTF8.self)
    }

    /// The index a token waits for: a member that has not applied it yet does not know the token yet.
    package static func index(of token: RawSpan) -> LogIndex? {
        var dot = token.byteCount - 1
        while dot >= 0 && token[byte: dot] != 0x2e { dot -= 1 }
        guard dot >= 0, dot + 1 < token.byteCount else { return nil }
        var index: LogIndex = 0
        for i in (dot + 1)..<token.byteCount {
            let digit = token[byte: i]
            guard (0x30...0x39).contains(digit) else { return nil }
            let (tens, tooLong) = index.multipliedReportingOverflow(by: 10)
            let (sum, tooLarge) = tens.addingReportingOverflow(LogIndex(digit - 0x30))
            if tooLong || tooLarge { return nil }
            index = sum
        }
        return index
    }

    /// Makes a token valid, for as long as any other.
    package mutating func assign(_ text: Bytes, to user: Bytes, now: Nanoseconds) {
        sweep(now)
        invariant(slots[text] == nil, "a token is made once: its text ends in the index of its entry")
        let deadline = now.adding(timeToLive)
        let slot: UInt32
        if let reused = free.popLast() {
            slot = reused
            let generation = tokens[Int(slot)].generation
            tokens[Int(slot)] = Token(text: text, user: user, deadline: deadline, generation: generation, isLive: true)
        } else {
            slot = UInt32(tokens.count)
            tokens.append(Token(text: text, user: user, deadline: deadline, generation: 0, isLive: true))
        }
        slots[text] = slot
        deadlines.push(.init(time: deadline, slot: slot, generation: tokens[Int(slot)].generation))
    }

    /// The token's user; using it keeps it alive.
    package mutating func user(of text: Bytes, now: Nanoseconds) -> Bytes? {
        guard let slot = slots[text] else { return nil }
        guard tokens[Int(slot)].deadline > now else {
            remove(slot)
            return nil
        }
        tokens[Int(slot)].deadline = now.adding(timeToLive)
        return tokens[Int(slot)].user
    }

    package mutating func invalidate(user: Bytes) {
        for i in tokens.indices where tokens[i].isLive && tokens[i].user == user { remove(UInt32(i)) }
    }

    package mutating func removeAll() {
        slots.removeAll()
        tokens.removeAll()
        free.removeAll()
        deadlines.removeAll()
    }

    /// Drops what has expired. Called with each new token, so unused tokens do not pile up.
    private mutating func sweep(_ now: Nanoseconds) {
        while let due = deadlines.popDue(now) {
            let token = tokens[Int(due.slot)]
            guard token.isLive, token.generation == due.generation else { continue }
            if token.deadline > now {
                deadlines.push(.init(time: token.deadline, slot: due.slot, generation: due.generation))
            } else {
                remove(due.slot)
            }
        }
    }

    private mutating func remove(_ slot: UInt32) {
        let i = Int(slot)
        slots.removeValue(forKey: tokens[i].text)
        tokens[i].isLive = false
        tokens[i].generation &+= 1
        tokens[i].user = []
        tokens[i].text = []
        free.append(slot)
    }
}
