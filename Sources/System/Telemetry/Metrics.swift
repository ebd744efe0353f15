// Numbers for Prometheus. Whoever counts holds the counter itself: an increment is one relaxed atomic addition, no lock,
// no look-up. Children of labelled families are found once and kept.

import Foundations
import Linux

import struct Synchronization.Atomic

/// Only grows.
package final class Counter: Sendable {
    private let count = Atomic<UInt64>(0)

    package init() {}

    @inline(__always) package func increment(by amount: Int = 1) {
        count.wrappingAdd(UInt64(truncatingIfNeeded: amount), ordering: .relaxed)
    }

    package var value: UInt64 { count.load(ordering: .relaxed) }
}

/// Goes up and down.
package final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    package init() {}

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    @inline(__always) package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    @inline(__always) package func set(_ value: some BinaryInteger) { set(Double(value)) }
    package func set(_ value: Bool) { set(value ? 1.0 : 0.0) }

    package func add(_ amount: Double) { bits.addDouble(amount) }
    package func add(_ amount: Int) { add(Double(amount)) }
}

extension Atomic where Value == UInt64 {
    /// Adds to the number whose bits these are.
    borrowing func addDouble(_ amount: Double) {
        var seen = load(ordering: .relaxed)
        while true {
            let wanted = (Double(bitPattern: seen) + amount).bitPattern
            let (exchanged, original) = weakCompareExchange(expected: seen, desired: wanted, ordering: .relaxed)
            if exchanged { return }
            seen = original
        }
    }
}

/// How observations spread over buckets.
@safe package final class Histogram: Sendable {
    /// Upper bounds, ascending; the last bucket, above them all, is implied.
    package let bounds: [Double]
    /// One counter a bucket; allocated once, freed with self, which is why sharing the pointer is safe.
    private nonisolated(unsafe) let buckets: UnsafeMutablePointer<Atomic<UInt64>>
    private let sum = Atomic<UInt64>(0)

    package init(_ bounds: [Double]) {
        self.bounds = bounds
        unsafe buckets = .allocate(capacity: bounds.count + 1)
        for i in 0...bounds.count { unsafe (buckets + i).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe buckets.deinitialize(count: bounds.count + 1)
        unsafe buckets.deallocate()
    }

    package func observe(_ value: Double) {
        var i = 0
        while i < bounds.count && value > bounds[i] { i += 1 }
        unsafe buckets[i].wrappingAdd(1, ordering: .relaxed)
        sum.addDouble(value)
    }

    /// Takes over what somebody else counted: not cumulative, one for each bound and one for what is above.
    package func set(_ counts: [UInt64], sum: Double) {
        invariant(counts.count == bounds.count + 1, "\(counts.count) counts for \(bounds.count) bounds")
        for i in counts.indices { unsafe buckets[i].store(counts[i], ordering: .relaxed) }
        self.sum.store(sum.bitPattern, ordering: .relaxed)
    }

    /// A time span for a family in seconds.
    package func observe(nanoseconds: UInt64) { observe(Double(nanoseconds) / 1e9) }

    /// Cumulative counts, one a bound and the total last, and the sum.
    package var snapshot: (counts: [UInt64], sum: Double) {
        var total: UInt64 = 0
        var counts: [UInt64] = []
        for i in 0...bounds.count {
            total += unsafe buckets[i].load(ordering: .relaxed)
            counts.append(total)
        }
        return (counts, Double(bitPattern: sum.load(ordering: .relaxed)))
    }

    /// `start`, then each bound `factor` times the last.
    package static func exponential(_ start: Double, _ factor: Double, _ count: Int) -> [Double] {
        var bounds: [Double] = []
        var bound = start
        for _ in 0..<count {
            bounds.append(bound)
            bound *= factor
        }
        return bounds
    }
}

/// A family with labels: one child for each combination of values, made when first asked for.
package final class Labelled<Child: Sendable>: Sendable {
    /// In the order in which `callAsFunction` takes values.
    package let labels: [String]
    /// A client must not be able to fill memory with label values; beyond this they share one child.
    package static var childrenMax: Int { 10_000 }

    private struct State: Sendable {
        var children: [[String]: Child] = [:]
        /// In the order in which they are shown, each with what its line begins with; nil when a child came or went.
        var lines: [(values: [String], child: Child, head: Bytes)]?
    }

    private let state = Mutex(State())
    private let make: @Sendable () -> Child

    package init(_ labels: [String], make: @escaping @Sendable () -> Child) {
        self.labels = labels
        self.make = make
    }

    package func callAsFunction(_ values: String...) -> Child { child(values) }

    package func child(_ values: [String]) -> Child {
        invariant(values.count == labels.count, "labels \(labels) got \(values.count) values")
        return state.withLock { state in
            if let known = state.children[values] { return known }
            let key = state.children.count < Self.childrenMax ? values : labels.map { _ in "other" }
            if let known = state.children[key] { return known }
            let fresh = make()
            state.children[key] = fresh
            state.lines = nil
            return fresh
        }
    }

    /// Forgets children, e.g. those of a removed member.
    package func remove(where matches: ([String]) -> Bool) {
        state.withLock { state in
            state.children = state.children.filter { !matches($0.key) }
            state.lines = nil
        }
    }

    /// By label values. `head` makes the beginning of a child's line, once as long as no child comes or goes: a page of a
    /// thousand lines is asked for every few seconds, and whoever makes it has other things to do.
    func lines(_ head: ([String]) -> Bytes) -> [(values: [String], child: Child, head: Bytes)] {
        state.withLock { state in
            if let lines = state.lines { return lines }
            let lines = state.children.sorted { $0.key.lexicographicallyPrecedes($1.key) }
                .map { (values: $0.key, child: $0.value, head: head($0.key)) }
            state.lines = lines
            return lines
        }
    }
}
