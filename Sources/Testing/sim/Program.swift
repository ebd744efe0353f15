// covey-sim: runs simulated clusters from seeds and checks them. See `World`.

import Foundations
import Glibc

@main
enum Program {
    private static let usage = """
        usage: covey-sim [--seeds FROM..TO | --seed N | --minutes M] [--verbose] [--break RULE] [--list]
          --seeds FROM..TO   run these seeds (default 1..200)
          --seed N           run one seed
          --minutes M        run seeds from a new start for this long
          --verbose          tell every step
          --break RULE       break a rule of raft: a run that does not fail then shows a hole in the simulator
          --list             names of the rules
        Exit status: 0 when all seeds passed, 1 when one failed (the replay command is printed), 2 for usage.
        """

    static func main() {
        var seeds: ClosedRange<UInt64> = 1...200
        var minutes: Int?
        var isVerbose = false
        var breakage: Breakage?
        var arguments = CommandLine.arguments.dropFirst()

        func value() -> String {
            guard let value = arguments.popFirst() else { stop() }
            return value
        }
        while let argument = arguments.popFirst() {
            switch argument {
            case "--seeds":
                let ends = value().split(separator: ".", omittingEmptySubsequences: true).compactMap { UInt64($0) }
                guard ends.count == 2, ends[0] <= ends[1] else { stop() }
                seeds = ends[0]...ends[1]
            case "--seed":
                guard let seed = UInt64(value()) else { stop() }
                seeds = seed...seed
            case "--minutes":
                guard let number = Int(value()), number > 0 else { stop() }
                minutes = number
                let start = UInt64(bitPattern: Int64(time(nil))) &* 1_000_000
                seeds = start...(start + 1_000_000_000)
            case "--verbose": isVerbose = true
            case "--break":
                breakage = Breakage(rawValue: value())
                if breakage == nil { stop() }
            case "--list":
                for rule in Breakage.allCases { print(rule.rawValue) }
                return
            default: stop()
            }
        }
        Report.catchCrashes()
        run(seeds, minutes: minutes, isVerbose: isVerbose, breakage: breakage)
    }

    private static func run(_ seeds: ClosedRange<UInt64>, minutes: Int?, isVerbose: Bool, breakage: Breakage?) {
        print("seeds \(seeds.lowerBound)..\(seeds.upperBound)\(minutes.map { ", for \($0) min" } ?? "")")
        fflush(nil)
        let began = time(nil)
        var total = World.Summary()
        var count = 0
        for seed in seeds {
            if let minutes, time(nil) - began >= minutes * 60 { break }
            Report.begin(seed: seed, breakage: breakage)
            total.add(World(seed: seed, isVerbose: isVerbose, breakage: breakage).run())
            count += 1
        }
        print(
            "\(count) seeds passed in \(time(nil) - began) s: \(total.events) events, \(total.operations) operations, "
                + "\(total.entries) entries, \(total.terms) leaderships")
    }

    private static func stop() -> Never {
        print(usage)
        exit(2)
    }
}
