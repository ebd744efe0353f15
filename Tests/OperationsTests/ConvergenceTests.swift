// Hosts with the same inventory file become a cluster, and change with it, without an operator: real agents as processes.

import Glibc
import PKI
import TestSupport
import Testing

@Suite(.serialized) struct ConvergenceTests {
    private static let names = ["n1", "n2", "n3"]

    /// Three hosts that are enrolled, with the authorities held by one of them.
    private final class Hosts {
        let fleet: FleetTests.Fleet

        init() throws {
            fleet = try FleetTests.Fleet()
            try write(1)
            let enrolled = fleet.covey("enroll", "--through", "env COVEY_AGENT_ROOT=\(fleet.folder)/HOST")
            try #require(enrolled.status == 0, "\(enrolled.output)")
        }

        func text(_ generation: Int, quota: String = "64MiB") -> String {
            let lines = fleet.inventory("").split(separator: "\n").filter { !$0.contains(" n4:") }
            return lines.joined(separator: "\n").replacing("{name: main}", with: "{name: main, generation: \(generation)}")
                .replacing("64MiB", with: quota) + "\n  tls: {peerCA: {key: {holders: [n2]}}, clientCA: {key: {holders: [n2]}}}\n"
        }

        /// The operator's own copy, for looking.
        func write(_ generation: Int) throws {
            try KeyFile.write(Array(text(generation).utf8), to: fleet.folder + "/cluster.yaml", mode: 0o600)
        }

        func place(_ text: String, on host: String) throws {
            try KeyFile.write(Array(text.utf8), to: "\(fleet.folder)/\(host)/etc/covey/inventory.yaml", mode: 0o644)
        }

        func start(_ host: String, crashAt point: String = "") { fleet.start(host, crashAt: point, more: ["--soak", "0s"]) }

        func tells(_ host: String, _ text: String) -> Bool { eventually { fleet.log(host).contains(text) } }

        func settled(_ generation: Int) -> Bool {
            names.allSatisfy { tells($0, "inventory.yaml: in effect, generation \(generation)") }
        }

        func process(_ host: String) -> String {
            let page = Subprocess.run("/bin/sh", ["-c", "pgrep -f '[-]-config-file=\(fleet.folder)/\(host)/' || true"]).output
            return page.split(separator: "\n").map(String.init).joined(separator: " ")
        }
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `the same file on three hosts makes a cluster, and the next one changes it member by member`() throws {
        let hosts = try Hosts()
        let fleet = hosts.fleet
        // The one that conducts is killed while it makes the cluster.
        for host in Self.names { hosts.start(host, crashAt: host == "n1" ? "render/intent" : "") }
        for host in Self.names.dropLast() { try hosts.place(hosts.text(1), on: host) }
        #expect(hosts.tells("n1", "waiting: n3 has no such file"), "\(fleet.log("n1"))")
        try hosts.place(hosts.text(1), on: "n3")
        #expect(
            hosts.tells("n1", "waiting for an operator: nobody here can issue certificates for clients: n2 should hold the authority"),
            "\(fleet.log("n1"))")
        #expect(fleet.covey("ca", "distribute").status == 0)
        #expect(
            hosts.tells("n2", "ledger: done, pending") && hosts.tells("n2", "waiting: the agent of n1 does not answer"),
            "\(fleet.log("n2"))")
        let early = fleet.covey("status")
        #expect(early.output.contains("waiting: the agent of n1 does not answer"), "\(early.output)")
        fleet.kill("n1")
        hosts.start("n1")
        try #require(hosts.settled(1), "\(fleet.log("n1"))\n\(fleet.log("n2"))")
        #expect(fleet.log("n1").contains("this host goes on with converge-"))
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")
        let status = fleet.covey("status")
        #expect(status.status == 0 && status.output.hasPrefix("main  HEALTHY  voters 3"), "\(status.output)")
        #expect(fleet.covey("apply").output.contains("Nothing to do"), "the operator's way finds the same")

        // Two of three have the next file: nothing happens, and everybody knows why.
        let before = Dictionary(uniqueKeysWithValues: Self.names.map { ($0, hosts.process($0)) })
        #expect(before.values.allSatisfy { !$0.isEmpty }, "\(before)")
        for host in ["n1", "n3"] { try hosts.place(hosts.text(2, quota: "96MiB"), on: host) }
        #expect(hosts.tells("n1", "waiting: n2 has another file: digest"), "\(fleet.log("n1"))")
        #expect(eventually { fleet.covey("status").output.contains("waiting: n2 has another file") })
        let onHost = Subprocess.run(RealTools.covey, ["status", fleet.folder + "/n1/etc/covey/inventory.yaml"])
        #expect(onHost.output.contains("waiting: n2 has another file"), "\(onHost.output)")
        #expect(Dictionary(uniqueKeysWithValues: Self.names.map { ($0, hosts.process($0)) }) == before)

        // A file with an error, then a paused cluster: nothing either.
        try hosts.place(hosts.text(2, quota: "96MiB").replacing("quota:", with: "qouta:"), on: "n2")
        #expect(hosts.tells("n2", "inventory.yaml:4:30: error:"), "\(fleet.log("n2"))")
        #expect(hosts.tells("n1", "the file on n2 cannot be used: "), "\(fleet.log("n1"))")
        let doctor = fleet.covey("doctor").output
        #expect(doctor.contains("FAIL inventory.file n2: ") && doctor.contains(":4:30: error:"), "\(doctor)")
        #expect(fleet.covey("pause", "--reason", "looking").status == 0)
        try hosts.place(hosts.text(2, quota: "96MiB"), on: "n2")
        #expect(hosts.tells("n1", "waiting: paused on n1: looking"), "\(fleet.log("n1"))")
        #expect(Dictionary(uniqueKeysWithValues: Self.names.map { ($0, hosts.process($0)) }) == before)
        fleet.kill("n1")
        hosts.start("n1", crashAt: "restart/intent")
        #expect(fleet.covey("resume").status == 0)

        // Killed when it is its own member's turn; the next start of the agent goes on.
        #expect(hosts.tells("n1", "op converge-"), "\(fleet.log("n1"))")
        #expect(
            eventually {
                fleet.covey("member", "ls").output.split(separator: "\n").contains { $0.hasPrefix("n1 ") && $0.contains(" down ") }
            })
        fleet.kill("n1")
        hosts.start("n1")
        try #require(hosts.settled(2), "\(fleet.log("n1"))\n\(fleet.log("n2"))")
        for host in Self.names {
            let now = hosts.process(host)
            #expect(!now.isEmpty && now != before[host], "\(host) was restarted")
            #expect(fleet.text("\(host)/etc/covey/main/server.yaml").contains("quota-backend-bytes: 100663296"))
        }
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
        let shown = fleet.covey("op", "show").output
        #expect(shown.contains("converge") && shown.contains("agent:n1"), "\(shown)")

        // What has no way back waits for an operator, who is told what to type.
        for host in Self.names {
            let two = hosts.text(3, quota: "96MiB").replacing("n3: {", with: "n3: {role: spare, ")
            try hosts.place(two.replacing("quietTime: 1s", with: "quietTime: 1s, evenVoters: true"), on: host)
        }
        #expect(
            hosts.tells("n1", "waiting for an operator: it takes n3 out, and there is no way back from that: covey apply"),
            "\(fleet.log("n1"))")
        #expect(fleet.covey("member", "ls").output.contains("n3 "))
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `a cluster of one grows to three by the next file, although an agent is killed meanwhile`() throws {
        let hosts = try Hosts()
        let fleet = hosts.fleet
        // Where it is made to be a member it ends, after its server was started.
        for host in Self.names { hosts.start(host, crashAt: host == "n3" ? "unmask+enable+start/acted" : "") }
        var first = hosts.text(1)
        for host in ["n2", "n3"] { first = first.replacing("\(host): {", with: "\(host): {role: spare, ") }
        // Who issues is no member yet.
        try KeyFile.write(Array(first.utf8), to: fleet.folder + "/cluster.yaml", mode: 0o600)
        #expect(fleet.covey("ca", "distribute").status == 0)
        for host in Self.names { try hosts.place(first, on: host) }
        try #require(hosts.settled(1), "\(fleet.log("n1"))")
        #expect(try fleet.etcdctl("put", "greeting", "hello").output == "OK\n")

        try hosts.write(2)
        for host in Self.names { try hosts.place(hosts.text(2), on: host) }
        #expect(hosts.tells("n1", "failed, and will be tried again: STOPPED") || hosts.tells("n1", "the agent of n3 does not answer"))
        fleet.kill("n3")
        #expect(hosts.tells("n1", "waiting: the agent of n3 does not answer"), "\(fleet.log("n1"))")
        hosts.start("n3")
        try #require(hosts.settled(2), "\(fleet.log("n1"))\n\(fleet.log("n3"))")
        #expect(fleet.log("n1").contains("this host goes on with converge-"))
        let list = fleet.covey("member", "ls").output
        #expect(list.split(separator: "\n").filter { $0.contains(" ok ") }.count == 3, "\(list)")
        #expect(try fleet.etcdctl("get", "greeting").output == "greeting\nhello\n")
    }
}
