// Programs in version slots and audit logs, over real agents that are killed on the way.

import Glibc
import PKI
import TestSupport
import Testing

@testable import Operations

extension FleetTests {
    /// Writes the inventory with this artifact.
    private func write(_ fleet: Fleet, _ artifact: String) throws {
        let text = fleet.inventory("").replacing("  hosts:\n", with: "  server: {artifact: {\(artifact)}}\n  hosts:\n")
        try KeyFile.write(Array(text.utf8), to: fleet.folder + "/cluster.yaml", mode: 0o600)
    }

    private func slot(_ fleet: Fleet, _ host: String) -> String {
        HostKeeper.target(of: "\(fleet.folder)/\(host)/etc/covey/main/program").split(separator: "/").dropLast().last.map(String.init) ?? ""
    }

    @Test func `members are rolled into a signed program, and every host's audit log tells who did it`() throws {
        let fleet = try Fleet()
        let folder = fleet.folder
        try #require(fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(folder)/HOST").status == 0)
        for host in fleet.hosts { fleet.start(host) }
        let made = fleet.covey("apply")
        try #require(made.status == 0, "\(made.output)")
        let packaged = slot(fleet, "n1")
        #expect(!packaged.isEmpty && ["n2", "n3"].allSatisfy { slot(fleet, $0) == packaged })
        let status = fleet.covey("status")
        #expect(status.status == 0 && status.output.contains(packaged), "\(status.output)")

        // The same program with another digest.
        let program = folder + "/covey-next"
        let bytes = Subprocess.run("/bin/sh", ["-c", "cat \(RealTools.covey) > \(program); echo >> \(program); chmod 755 \(program)"])
        #expect(bytes.status == 0)
        func tool(_ words: String...) -> Subprocess { Subprocess.run(RealTools.covey, words) }
        #expect(tool("artifact", "key", "release", "-o", folder).status == 0)
        #expect(tool("artifact", "key", "other", "-o", folder).status == 0)
        let key = String(decoding: try KeyFile.read(folder + "/release.pub").bytes, as: UTF8.self).trimmed
        let trusting = "file: \(program), keys: {release: \"\(key)\"}"
        try write(fleet, trusting)
        let unsigned = fleet.covey("apply")
        #expect(unsigned.status == 3 && unsigned.output.contains("nobody has signed it"), "\(unsigned.output)")
        #expect(tool("artifact", "sign", program, "--key", folder + "/other.key").status == 0)
        #expect(tool("artifact", "verify", program, "--key", folder + "/release.pub").status == 1)
        let foreign = fleet.covey("apply")
        #expect(foreign.status == 3 && foreign.output.contains("none of the trusted keys (release)"), "\(foreign.output)")
        #expect(tool("artifact", "sign", program, "--key", folder + "/release.key").status == 0)
        #expect(tool("artifact", "verify", program, "--key", folder + "/release.pub").status == 0)
        #expect(slot(fleet, "n1") == packaged, "nothing was changed")

        fleet.kill("n2")
        fleet.start("n2", crashAt: "activate/kept")
        #expect(eventually { fleet.covey("status").status == 10 }, "healthy, and the inventory differs")
        let stopped = fleet.covey("apply")
        try #require(stopped.status == 4 && stopped.output.contains("restart n2 into"), "\(stopped.output)")
        fleet.kill("n2")
        fleet.start("n2")
        #expect(eventually { fleet.covey("status").output.contains("main  HEALTHY") })
        let rolled = fleet.covey("op", "resume")
        try #require(rolled.status == 0, "\(rolled.output)")
        let next = slot(fleet, "n1")
        #expect(next != packaged && ["n2", "n3"].allSatisfy { slot(fleet, $0) == next })
        let settled = fleet.covey("apply")
        #expect(settled.status == 0 && settled.output.contains("Nothing to do"), "\(settled.output)")
        let list = fleet.covey("artifact", "ls").output.split(separator: "\n").map(String.init)
        #expect(list.filter { $0.contains(next) && $0.contains("release") && $0.hasSuffix("runs") }.count == 3, "\(list)")
        #expect(list.filter { $0.contains(packaged) }.count >= 3, "the way back is kept: \(list)")

        audits(fleet)
    }

    private func audits(_ fleet: Fleet) {
        let shown = fleet.covey("audit", "--last", "500").output
        #expect(shown.contains("ARTIFACT: ") && shown.contains("activate") && shown.contains("operator 127."), "\(shown)")
        let good = fleet.covey("audit", "--verify")
        #expect(good.status == 0 && good.output.split(separator: "\n").filter { $0.contains("  holds  ") }.count == 4, "\(good.output)")
        let file = "\(fleet.folder)/n3/var/lib/covey-agent/main/audit/\(AuditChain.name(0))"
        #expect(Subprocess.run("/bin/sed", ["-i", "2s/operator/somebody/", file]).status == 0)
        let broken = fleet.covey("audit", "--verify")
        #expect(broken.status == 1 && broken.output.contains("n3  BROKEN  record 1 "), "\(broken.output)")
        let onHost = Subprocess.run(RealTools.covey, ["audit", "--verify", "--dir", String(file.dropLast(AuditChain.name(0).count + 1))])
        #expect(onHost.status == 1 && onHost.output.contains("record 1 "), "\(onHost.output)")
    }
}

extension String {
    fileprivate var trimmed: String { String(prefix { $0 != "\n" }) }
}
