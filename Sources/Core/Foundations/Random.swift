// Randomness is an input: everything in Core that needs a random number takes it from a generator with a seed, so that a
// seed replays a run. (SplitMix64: small state, good enough for time-outs and simulations, not for secrets.)

package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A generator of its own for a part of a run, so that parts do not disturb each other's numbers.
    package mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }

    /// True in `numerator` of `denominator` cases.
    package mutating func chance(_ numerator: Int, in denominator: Int) -> Bool {
        Int.random(in: 0..<denominator, using: &self) < numerator
    }
}
