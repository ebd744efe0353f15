// Whole clusters as programs on loopback, looked at from outside by Python: members that change, faults under clients with
// a check of linearizability, real etcd members beside ours. The scripts run by hand too, longer: `make soak`.

import Glibc
import TestSupport
import Testing

@Suite(.serialized)
struct ClusterTests {
    private static let folder = RealTools.root + "/Tests/ClusterTests/Replay/"

    private func run(_ script: String, _ arguments: [String] = []) throws {
        let python = try #require(RealTools.python, "run: make deps")
        let result = Subprocess.run(
            python, [Self.folder + script, "--covey", RealTools.covey + " server", "--seed", RealTools.seed] + arguments)
        // 77: what the machine cannot do, said by the script.
        if result.status == 77 { return print("\(script): \(result.output)") }
        #expect(result.status == 0, "\(script) \(arguments.joined(separator: " "))\n\(result.output.suffix(30_000))")
        for line in result.output.split(separator: "\n") where line.hasPrefix("passed") || line.hasPrefix("seed") {
            print("\(script): \(line)")
        }
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `members come, learn, move, are wiped and leave; leases and quorum as etcd has them`() throws {
        // Most of these wait for connections to be five seconds old, or for leases: three at a time.
        try run("members.py", ["--jobs", "3"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `what clients see stays linearizable while members are killed and paused`() throws {
        try run("faults.py", ["--seconds", RealTools.environment("FAULT_SECONDS") ?? "40"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `what clients see stays linearizable while members are cut off from each other`() throws {
        try run("partitions.py", ["--seconds", RealTools.environment("FAULT_SECONDS") ?? "40"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `a member whose store was damaged is found by the hashes of compactions`() throws {
        try run("corruption.py", ["--jobs", "2"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `real members and ours are one cluster, in every mixture`() throws {
        try run("mixed.py", ["--jobs", "2"])
    }
}
