// A cluster over real agents, each with a root and a loopback address of its own: made, interrupted, replaced living and
// dead, without systemd.

import Glibc
import PKI
import TestSupport
import Testing

@Suite(.serialized) struct FleetTests {
    final class Fleet {
        let folder = temporaryFolder("fleet")
        private var agents: [String: UpProcess] = [:]
        let hosts = ["n1", "n2", "n3", "n4"]

        /// Without settings.
        private let plain: String

        func inventory(_ settings: String) -> String { plain + settings }

        /// `settings`: more lines of the inventory's `spec`.
        init(_ settings: String = "") throws {
            // Addresses of this test alone: all agents listen on the same port.
            let net = "127.\(Int.random(in: 60..<250)).\(Int.random(in: 1..<250))"
            var text = "metadata: {name: main}\nspec:\n  supervisor: processes\n  hosts:\n"
            for (i, name) in hosts.enumerated() {
                let role = i == 3 ? ", role: spare" : ""
                text +=
                    "    \(name): {address: \(net).\(i + 1), client: \(freePort()), peer: \(freePort()), metrics: \(freePort())\(role)}\n"
            }
            plain = text
            try KeyFile.write(Array((text + settings).utf8), to: folder + "/cluster.yaml", mode: 0o600)
            try KeyFile.makeFolder(folder + "/bin")
            symlink(UpProcess.program, folder + "/bin/covey")
        }

        deinit {
            agents.removeAll()
            _ = Subprocess.run("/bin/rm", ["-rf", folder])
        }

        func covey(_ words: String...) -> Subprocess {
            Subprocess.run(
                "/bin/sh",
                ["-c", "PATH=$0/bin:$PATH; cd $0; exec covey \"$@\" 2>&1", folder] + words
                    + ["-f", "cluster.yaml", "--state-dir", folder + "/state"])
        }

        func start(_ host: String, crashAt point: String = "") {
            let command = ["env", "COVEY_AGENT_CRASH=\(point)", UpProcess.program, "agent"]
            agents[host] = UpProcess(
                ["--root", "\(folder)/\(host)", "--supervisor", "processes"], command: command, name: host, logs: folder
            )
            #expect(agents[host]?.tells("\(host) listens on") == true)
        }

        func log(_ host: String) -> String { agents[host]?.events ?? "" }

        func kill(_ host: String) { agents[host] = nil }

        func etcdctl(_ words: String...) throws -> Subprocess {
            let tools = try #require(RealTools.etcd35, "run: make deps")
            return Subprocess.run(
                "/bin/sh",
                ["-c", "eval \"$($0/bin/covey env -f $0/cluster.yaml --state-dir $0/state)\"; exec \"$@\"", folder]
                    + [tools + "/etcdctl", "--command-timeout=20s"] + words)
        }

        /// Empty without such a file.
        func text(_ path: String) -> String {
            (try? KeyFile.read("\(folder)/\(path)").bytes).map { String(decoding: $0, as: UTF8.self) } ?? ""
        }
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `a cluster is made although an agent is killed meanwhile, and its members are replaced living and dead`()
        throws
    {
        let fleet = try Fleet()
        let enrolled = fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST")
        try #require(enrolled.status == 0, "\(enrolled.output)")
        for host in fleet.hosts where host != "n2" { fleet.start(host) }
        #expect(fleet.covey("apply").status == 3, "an agent is missing")
        fleet.start("n2", crashAt: "render/intent")

        let stopped = fleet.covey("apply")
        try #require(stopped.status == 4 && stopped.output.contains("covey op resume"), "\(stopped.output)")
        fleet.kill("n2")
        fleet.start("n2")
        #expect(fleet.covey("apply").status == 5, "the operation has not ended")
        let resumed = fleet.covey("op", "resume")
        try #require(resumed.status == 0, "\(resumed.output)")
        #expect(resumed.output.contains("first write acknowledged by a quorum"))
        let again = fleet.covey("apply")
        #expect(again.status == 0 && again.output.contains("Nothing to do"), "\(again.output)")
        for host in ["n1", "n2", "n3"] {
            #expect(fleet.text("\(host)/etc/covey/main/server.yaml").contains("initial-cluster-state: \"existing\""))
        }
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")

        let living = fleet.covey("member", "replace", "n2", "n4")
        try #require(living.status == 0, "\(living.output)")
        fleet.kill("n3")
        #expect(fleet.covey("member", "replace", "n3", "n2").status == 3, "nobody says that it is off")
        let dead = fleet.covey("member", "replace", "n3", "n2", "--attest-dead", "n3")
        try #require(dead.status == 0, "\(dead.output)")
        let list = fleet.covey("member", "ls").output
        #expect(
            !list.contains("n3 ") && list.split(separator: "\n").filter { $0.contains(" ok ") }.count == 3, "\(list)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")

        let restarted = fleet.covey("restart", "--soak", "0s")
        #expect(restarted.status == 0, "\(restarted.output)")
        let renewed = fleet.covey("certs", "renew", "n1")
        #expect(renewed.status == 0, "\(renewed.output)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        let ended = fleet.covey("decommission", "--cluster", "--confirm", "main")
        #expect(ended.status == 0, "n3 is no member and is not asked: \(ended.output)")
    }

    @Test func `a bootstrap over data nobody knows is refused, and one that was begun can be given up`() throws {
        let fleet = try Fleet()
        try #require(fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST").status == 0)
        for host in fleet.hosts { fleet.start(host, crashAt: host == "n3" ? "certificates/intent" : "") }
        let old = fleet.folder + "/n1/var/lib/covey/main/member"
        try KeyFile.makeFolder(old)
        let refused = fleet.covey("apply")
        #expect(refused.status == 3 && refused.output.contains("DATA"), "\(refused.output)")
        #expect(fleet.text("n2/var/lib/covey-agent/main/ledger.json").isEmpty, "nothing was changed")
        rmdir(old)

        #expect(fleet.covey("apply").status == 4)
        let token = fleet.text("n1/var/lib/covey-agent/main/ledger.json")
        #expect(token.contains("\"pending\""))
        fleet.kill("n3")
        fleet.start("n3")
        let aborted = fleet.covey("op", "abort")
        #expect(aborted.status == 0, "\(aborted.output)")
        #expect(fleet.text("n1/var/lib/covey-agent/main/ledger.json").isEmpty)
        let made = fleet.covey("apply")
        try #require(made.status == 0, "\(made.output)")
        #expect(fleet.text("n1/var/lib/covey-agent/main/ledger.json") != token)
        let ended = fleet.covey("decommission", "--cluster", "--confirm", "main")
        #expect(ended.status == 0, "\(ended.output)")
    }
}
