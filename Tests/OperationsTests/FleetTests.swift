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
        /// Of the first host, for clients.
        private(set) var endpoint = ""

        /// Without settings.
        private let plain: String

        func inventory(_ settings: String) -> String { plain + settings }

        /// `server`: of the inventory, when it is not the bundled one; `settings`: more lines of the inventory's `spec`.
        init(_ settings: String = "", server: String = "") throws {
            // Addresses of this test alone: all agents listen on the same port.
            let net = "127.\(Int.random(in: 60..<250)).\(Int.random(in: 1..<250))"
            // Test machines have slow disks, little room, and not the time to wait for quiet.
            var text =
                "metadata: {name: main}\nspec:\n  supervisor: processes\n  storage: {maxFsyncP99: 1s, quota: 64MiB}\n"
                + "  policy: {quietTime: 1s}\n"
                + (server.isEmpty ? "" : "  server: \(server)\n") + "  hosts:\n"
            for (i, name) in hosts.enumerated() {
                let role = i == 3 ? ", role: spare" : ""
                let port = freePort()
                if i == 0 { endpoint = "https://\(net).1:\(port)" }
                text +=
                    "    \(name): {address: \(net).\(i + 1), client: \(port), peer: \(freePort()), metrics: \(freePort())\(role)}\n"
            }
            plain = text
            try KeyFile.write(Array((text + settings).utf8), to: folder + "/cluster.yaml", mode: 0o600)
            try KeyFile.makeFolder(folder + "/bin")
            symlink(RealTools.covey, folder + "/bin/covey")
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

        func start(_ host: String, crashAt point: String = "", more: [String] = []) {
            let command = ["env", "COVEY_AGENT_CRASH=\(point)", RealTools.covey, "agent"]
            agents[host] = UpProcess(
                ["--root", "\(folder)/\(host)", "--supervisor", "processes"] + more, command: command, name: host, logs: folder
            )
            #expect(agents[host]?.tells("\(host) listens on") == true)
        }

        func log(_ host: String) -> String { agents[host]?.events ?? "" }

        func kill(_ host: String) { agents[host] = nil }

        /// Its member ends with the agent, a moment later.
        func killWithMember(_ host: String) {
            kill(host)
            #expect(
                eventually {
                    covey("member", "ls").output.split(separator: "\n").first { $0.hasPrefix(host + " ") }?.contains(" down ") == true
                })
        }

        func etcdctl(_ words: String...) throws -> Subprocess {
            let tools = try #require(RealTools.etcd35, "run: make deps")
            return Subprocess.run(
                "/bin/sh",
                ["-c", "eval \"$($0/bin/covey env -f $0/cluster.yaml --state-dir $0/state)\"; exec \"$@\"", folder]
                    + [tools + "/etcdctl", "--command-timeout=20s"] + words)
        }

        /// Through a pipe: what is said first, and that an interrupt ends it.
        func isWatched() throws {
            let watch = UpProcess(
                ["-f", folder + "/cluster.yaml", "--state-dir", folder + "/state"],
                command: [RealTools.covey, "status", "--watch"], name: "watch", logs: folder)
            #expect(eventually { watch.instructions.contains("main  HEALTHY  voters 3 healthy 3") }, "\(watch.instructions)")
            #expect(watch.end("INT") == 0)
        }

        func token(_ host: String) -> String? {
            let lines = text("\(host)/var/lib/covey-agent/main/ledger.json").split(separator: "\n")
            return lines.first { $0.contains("\"token\"") }.map(String.init)
        }

        /// As after a month in which nobody did more than look.
        func operatorExpires() throws {
            let pki = folder + "/state/main/pki", client = folder + "/state/main/client"
            let authority = try CertificateAuthority(
                certificate: Certificate.load(pki + "/client-ca.crt")[0],
                key: PrivateKey.load(pki + "/client-ca.key", mustBePrivate: true))
            let key = try PrivateKey.generate()
            let profile = CertificateProfile(
                commonName: "root", organizations: ["main"], usages: [.client], now: Int64(time(nil)) - 40 * 86_400,
                validitySeconds: 30 * 86_400)
            try KeyFile.write(key.pem, to: client + "/client.key", mode: 0o600)
            try KeyFile.write(authority.issue(profile, for: key).pem, to: client + "/client.crt", mode: 0o644)
        }

        /// Ctrl-C between two members: it stops with what to type, nothing else begins, and the rest is done then.
        func isInterrupted() {
            let restart = UpProcess(
                ["--soak", "10m", "-f", folder + "/cluster.yaml", "--state-dir", folder + "/state"],
                command: [RealTools.covey, "restart"], name: "restart", logs: folder)
            #expect(restart.tells("[ok ] 1/3 restart"))
            #expect(restart.end("INT") == 4, "\(restart.events)")
            #expect(restart.events.contains("STOPPED: interrupted") && restart.events.contains("next: covey op resume restart-"))
            #expect(covey("restart").status == 5)
            let resumed = covey("op", "resume", "--soak", "0s")
            #expect(resumed.status == 0 && resumed.output.contains("[ok ] 2/2 restart"), "\(resumed.output)")
        }

        func generation() -> String {
            text("n1/var/lib/covey-agent/main/ledger.json").split(separator: "\n").first { $0.contains("generation") }.map(
                String.init) ?? ""
        }

        /// An alarm and a member that somebody added by hand: nothing is begun, whatever is asked for.
        func refusesAlarmsAndStrangers() throws {
            let before = generation()
            let credentials = ["ca.crt", "client.crt", "client.key"].map { "\(folder)/state/main/client/\($0)" }
            let first = covey("member", "ls").output.split(separator: "\n").first { $0.hasPrefix("n1 ") }?.split(separator: " ")
            let id = try #require(first.flatMap { $0.count > 1 ? UInt64($0[1], radix: 16) : nil })
            let raised = Subprocess.run(
                "/usr/bin/curl",
                [
                    "-s", "--cacert", credentials[0], "--cert", credentials[1], "--key", credentials[2], "-d",
                    "{\"action\":\"ACTIVATE\",\"memberID\":\"\(id)\",\"alarm\":\"NOSPACE\"}",
                    endpoint + "/v3/maintenance/alarm",
                ])
            #expect(raised.output.contains("NOSPACE"), "\(raised.output)")
            let alarmed = covey("member", "replace", "n2", "n4")
            #expect(alarmed.status == 3 && alarmed.output.contains("ALARM: NOSPACE on n"), "\(alarmed.output)")
            #expect(covey("restart").status == 3)
            #expect(covey("member", "move-leader", "--override", "ALARM").status == 2, "without a reason")
            #expect(covey("member", "move-leader", "--override", "MEMBERS", "--reason", "no").status == 2)
            let moved = covey("member", "move-leader", "--override", "ALARM", "--reason", "it is being dealt with")
            #expect(moved.status == 0, "\(moved.output)")
            let record = "--override=ALARM --reason=it is being dealt with"
            #expect(covey("op", "show").output.contains(record))
            #expect(text("n1/var/lib/covey-agent/main/journal").contains("move-leader \(record)"))
            #expect(try etcdctl("alarm", "disarm").status == 0)

            // Servers want their connections to be five seconds old before members change.
            var added = try etcdctl("member", "add", "ghost", "--learner", "--peer-urls", "https://127.0.0.9:9")
            _ = try eventually(seconds: 1) {
                guard added.status != 0, added.output.contains("unhealthy cluster") else { return true }
                added = try etcdctl("member", "add", "ghost", "--learner", "--peer-urls", "https://127.0.0.9:9")
                return false
            }
            let words = added.output.split(separator: " ")
            let ghost = try #require(words.count > 1 && added.status == 0 ? String(words[1]) : nil, "\(added.output)")
            let haunted = covey("member", "replace", "n2", "n4", "--override", "ALARM", "--reason", "x")
            #expect(haunted.status == 3 && haunted.output.contains("MEMBERS: member \(ghost) at https://127.0.0.9:9"), "\(haunted.output)")
            #expect(haunted.output.contains("cannot be overridden"))
            #expect(try etcdctl("member", "remove", ghost).status == 0)
            #expect(generation() == before && !before.isEmpty, "nothing was changed")
        }

        func movesTheLeader() throws {
            for target in ["n2", "n3"] {
                let moved = covey("member", "move-leader", "--to", target)
                #expect(moved.status == 0, "\(moved.output)")
                let line = covey("member", "ls").output.split(separator: "\n").first { $0.hasPrefix("\(target) ") }
                #expect(line?.hasSuffix("leader") == true, "\(line ?? "")")
            }
            #expect(covey("member", "move-leader", "--to", "n3").output.contains("leads already"))
            #expect(covey("member", "move-leader", "--to", "n4").status == 2, "no member")
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

        try fleet.refusesAlarmsAndStrangers()
        try fleet.movesTheLeader()

        fleet.kill("n4")
        fleet.start("n4", crashAt: "unmask+enable+start/acted")
        let halfway = fleet.covey("member", "replace", "n2", "n4")
        try #require(halfway.status == 4, "\(halfway.output)")
        fleet.kill("n4")
        fleet.start("n4")
        let living = fleet.covey("op", "resume")
        try #require(living.status == 0, "\(living.output)")
        fleet.killWithMember("n3")
        #expect(fleet.covey("member", "replace", "n3", "n2").status == 3, "nobody says that it is off")
        let dead = fleet.covey("member", "replace", "n3", "n2", "--attest-dead", "n3")
        try #require(dead.status == 0, "\(dead.output)")
        let list = fleet.covey("member", "ls").output
        #expect(
            !list.contains("n3 ") && list.split(separator: "\n").filter { $0.contains(" ok ") }.count == 3, "\(list)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        try fleet.operatorExpires()
        let status = fleet.covey("status")
        #expect(status.status == 10 && status.output.contains("main  HEALTHY  voters 3"), "\(status.output)")
        #expect(status.output.contains("made the operator's certificate for clients"), "\(status.output)")
        #expect(status.output.contains("n3 is no member, the inventory calls it a voter"), "\(status.output)")
        let onHost = Subprocess.run(RealTools.covey, ["status", fleet.folder + "/n4/etc/covey/main/cluster.yaml"])
        #expect(onHost.status == 10 && onHost.output.contains("n4 is a member"), "\(onHost.output)")
        try fleet.isWatched()

        fleet.isInterrupted()
        let renewed = fleet.covey("certs", "renew", "n1")
        #expect(renewed.status == 0, "\(renewed.output)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        let ended = fleet.covey("decommission", "--cluster", "--confirm", "main")
        #expect(ended.status == 0, "n3 is no member and is not asked: \(ended.output)")
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)), arguments: ["3.5.1", "3.4.23"])
    func `upstream's server is made a cluster, replaced and restarted as ours is`(_ version: String) throws {
        let program = try #require(version == "3.5.1" ? RealTools.etcd35.map { $0 + "/etcd" } : RealTools.etcd34Server)
        let fleet = try Fleet(server: "{engine: etcd, program: \(program)}")
        try #require(fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST").status == 0)
        for host in fleet.hosts { fleet.start(host) }
        let made = fleet.covey("apply")
        try #require(made.status == 0, "\(made.output)\n\(fleet.text("n1/var/lib/covey-agent/main/server.log").suffix(3000))")
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")
        let status = fleet.covey("status")
        #expect(status.status == 0 && status.output.contains(version), "\(status.output)")
        let page = "http://\(fleet.endpoint.split(separator: "/")[1].split(separator: ":")[0]):2377/metrics"
        #expect(
            eventually {
                let metrics = Subprocess.run("/usr/bin/curl", ["-s", page]).output
                return metrics.contains("covey_cluster_level{cluster=\"main\"} 0")
                    && metrics.contains("covey_cluster_tolerance{cluster=\"main\"} 1")
            }, "\(Subprocess.run("/usr/bin/curl", ["-s", page]).output)")
        let living = fleet.covey("member", "replace", "n2", "n4")
        try #require(living.status == 0, "\(living.output)\n\(fleet.text("n4/var/lib/covey-agent/main/server.log").suffix(3000))")
        fleet.killWithMember("n3")
        let dead = fleet.covey("member", "replace", "n3", "n2", "--attest-dead", "n3")
        try #require(dead.status == 0, "\(dead.output)")
        let moved = fleet.covey("member", "move-leader", "--to", "n4")
        #expect(moved.status == 0, "\(moved.output)")
        let restarted = fleet.covey("restart", "--soak", "0s")
        #expect(restarted.status == 0, "\(restarted.output)")
        let renewed = fleet.covey("certs", "renew", "n4")
        #expect(renewed.status == 0, "\(renewed.output)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        #expect(fleet.covey("status").output.hasPrefix("main  HEALTHY  voters 3"))
        #expect(fleet.covey("decommission", "--cluster", "--confirm", "main").status == 0)
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
        let aborted = fleet.covey("op", "abort")
        #expect(aborted.status == 0, "\(aborted.output)")
        #expect(fleet.text("n1/var/lib/covey-agent/main/ledger.json").isEmpty)
        // Away when it was given up, this one comes back with what nobody else has any more.
        fleet.start("n3")
        #expect(fleet.text("n3/var/lib/covey-agent/main/ledger.json").contains("\"pending\""))
        let made = fleet.covey("apply")
        try #require(made.status == 0, "\(made.output)")
        #expect(made.output.contains("was given up while it was away"), "\(made.output)")
        #expect(fleet.text("n1/var/lib/covey-agent/main/ledger.json") != token)
        #expect(fleet.token("n3") == fleet.token("n1") && fleet.token("n1") != nil)
        let ended = fleet.covey("decommission", "--cluster", "--confirm", "main")
        #expect(ended.status == 0, "\(ended.output)")
    }
}
