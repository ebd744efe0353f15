// A local cluster from an inventory, as a person runs one: with TLS, through a real etcdctl, killed and started again.

import Glibc
import PKI
import TestSupport
import Testing

@Suite(.serialized) struct UpTests {
    /// An inventory with ports nobody uses, in a folder of its own.
    private final class Workplace {
        let folder = temporaryFolder("up")
        var file: String { folder + "/cluster.yaml" }
        var state: String { folder + "/state" }
        let clientPorts: [Int]

        init(voters: Int = 3) throws {
            let ports = (0..<3 * voters).map { _ in freePort() }
            clientPorts = (0..<voters).map { ports[3 * $0] }
            let hosts = (0..<voters).map { i in
                "    m\(i + 1): {address: 127.0.0.1, client: \(ports[3 * i]), peer: \(ports[3 * i + 1]), metrics: \(ports[3 * i + 2])}\n"
            }
            let text = "metadata: {name: t}\nspec:\n  supervisor: processes\n  hosts:\n" + hosts.joined()
            try KeyFile.write(Array(text.utf8), to: file, mode: 0o600)
        }

        deinit { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }

        func up() -> UpProcess { UpProcess([file, "--state-dir", state], logs: folder) }

        func covey(_ words: String...) -> Subprocess { Subprocess.run(RealTools.covey, words) }

        func status() -> Subprocess { covey("status", file, "--state-dir", state) }

        /// Through the file that is offered for sourcing.
        func etcdctl(_ words: String...) throws -> Subprocess {
            let tools = try #require(RealTools.etcd35, "run: make deps")
            return Subprocess.run(
                "/bin/sh", ["-c", ". \(state)/t/client/env; exec \"$@\"", "sh", tools + "/etcdctl", "--command-timeout=20s"] + words)
        }
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `a cluster is made, serves with TLS, survives kills, and is found again`() throws {
        let place = try Workplace()
        #expect(place.status().status == 3)
        let first = place.up()
        try #require(first.tells("ready after"), "\(first.events)")
        #expect(first.instructions.contains("https://127.0.0.1:\(place.clientPorts[0]),"))
        #expect(try place.etcdctl("put", "greeting", "hello").output == "OK\n")
        #expect(try place.etcdctl("get", "greeting").output == "greeting\nhello\n")
        #expect(try place.etcdctl("endpoint", "health").status == 0)
        let healthy = place.status()
        #expect(healthy.status == 0 && healthy.output.hasPrefix("t  HEALTHY  voters 3 quorum 2 can lose 1"), "\(healthy.output)")

        // Without a certificate nobody gets in.
        let stranger = Subprocess.run(
            "/usr/bin/curl", ["-sk", "--max-time", "5", "https://127.0.0.1:\(place.clientPorts[0])/health"])
        #expect(stranger.status != 0, "\(stranger.output)")

        let second = Subprocess.run(RealTools.covey, ["up", place.file, "--state-dir", place.state])
        #expect(second.status == 5 && second.output.contains("is up already"), "\(second.output)")

        let victim = try #require(first.processID("m2"))
        kill(victim, SIGKILL)
        #expect(first.tells("m2  ended with signal 9"))
        #expect(eventually { first.processID("m2") != victim }, "\(first.events)")
        #expect(eventually(seconds: 60) { place.status().status == 0 }, "\(place.status().output)")

        #expect(first.end("INT") == 0, "\(first.events)")
        let lines = first.events.split(separator: "\n")
        #expect(lines.filter { $0.hasSuffix("  stopped") }.count == 3, "\(first.events)")
        let down = place.status()
        #expect(down.status == 13 && down.output.contains("no `covey up` runs it"), "\(down.output)")

        let again = place.up()
        try #require(again.tells("ready after"), "\(again.events)")
        #expect(again.events.contains("starting m1, m2, m3 with their data") && !again.events.contains("made the"), "\(again.events)")
        #expect(try place.etcdctl("get", "greeting").output == "greeting\nhello\n")
        #expect(again.end("TERM") == 0)
    }

    @Test func `members end with their supervisor, and what it made is found`() throws {
        let place = try Workplace(voters: 1)
        let first = place.up()
        try #require(first.tells("ready after"), "\(first.events)")
        let member = try #require(first.processID("m1"))
        _ = first.end("KILL")
        #expect(eventually { !canConnect(port: place.clientPorts[0]) })
        #expect(eventually { kill(member, 0) != 0 })
        let again = place.up()
        try #require(again.tells("ready after"), "\(again.events)")
        #expect(again.end("INT") == 0)
    }

    @Test func `a bootstrap that is killed anywhere is finished by the next one`() throws {
        for moment in ["making it of", "made the authority for peers", "m1  started", "m3  started", "m2  healthy"] {
            let place = try Workplace()
            let first = place.up()
            #expect(first.tells(moment), "\(first.events)")
            _ = first.end("KILL")
            #expect(eventually { place.clientPorts.allSatisfy { !canConnect(port: $0) } })
            let second = place.up()
            try #require(second.tells("ready after"), "killed at \"\(moment)\":\n\(first.events)\n\(second.events)")
            #expect(place.status().status == 0, "\(place.status().output)")
            #expect(second.end("INT") == 0)
        }
    }

    @Test func `a member that lost its data is left out, a majority that did is refused`() throws {
        let place = try Workplace()
        let first = place.up()
        try #require(first.tells("ready after"), "\(first.events)")
        #expect(first.end("INT") == 0)
        _ = Subprocess.run("/bin/rm", ["-rf", place.state + "/t/members/m2/data"])
        let second = place.up()
        try #require(second.tells("ready after"), "\(second.events)")
        #expect(second.events.contains("m2  is left out: its data is gone"))
        #expect(place.status().status == 12)
        #expect(second.end("INT") == 0)
        _ = Subprocess.run("/bin/rm", ["-rf", place.state + "/t/members/m3/data"])
        let third = place.covey("up", place.file, "--state-dir", place.state)
        #expect(third.status == 3 && third.output.contains("only 1 of 3 members can start"), "\(third.output)")
    }

    @Test func `a port that is taken is told before anything is made`() throws {
        let place = try Workplace(voters: 1)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(place.clientPorts[0]).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(bound == 0 && listen(listener, 1) == 0)
        let result = place.covey("up", place.file, "--state-dir", place.state)
        #expect(result.status == 3 && result.output.contains("m1 cannot listen on client port \(place.clientPorts[0])"), "\(result.output)")
        #expect(!KeyFile.exists(place.state + "/t/ledger.json"))
    }

    @Test func `an inventory for systemd is not run here, a wrong one not at all`() throws {
        let systemd = Subprocess.run(RealTools.covey, ["up", RealTools.root + "/Inventory/three-node.yaml"])
        #expect(systemd.status == 3 && systemd.output.contains("needs spec.supervisor: processes"), "\(systemd.output)")
        #expect(Subprocess.run(RealTools.covey, ["up", "/nonexistent.yaml"]).status == 2)
        #expect(Subprocess.run(RealTools.covey, ["up", "a", "b"]).status == 2)
    }
}
