// Enrolment by a one-time token: what a token is good for, and the two sides of it over a socket.

import Inventory
import PKI
import TestSupport
import Testing

@testable import Operations

@Suite struct EnrolmentTests {
    private func withTokens(_ body: (EnrolmentTokens) throws -> Void) throws {
        let base = temporaryFolder("tokens")
        defer { _ = Subprocess.run("/bin/rm", ["-rf", base]) }
        try body(EnrolmentTokens(StateFolder(base, cluster: "main")))
    }

    private func refusal(_ tokens: EnrolmentTokens, _ token: String, _ host: String, now: Int64) -> EnrolmentTokens.Refusal? {
        do throws(EnrolmentTokens.Refusal) {
            try tokens.redeem(token, for: host, now: now)
            return nil
        } catch { return error }
    }

    @Test func `a token is good for its host, for its time, once`() throws {
        try withTokens { tokens in
            let token = try tokens.make(for: "kv1", lifetimeSeconds: 900, now: 1000)
            #expect(refusal(tokens, token, "kv2", now: 1100) == .otherHost(asked: "kv2", meant: "kv1"))
            #expect(refusal(tokens, token, "kv1", now: 1900) == .expired(secondsAgo: 0))
            #expect(refusal(tokens, token, "kv1", now: 1899) == nil, "what was refused did not use it up")
            #expect(refusal(tokens, token, "kv1", now: 1899) == .used)
            #expect(refusal(tokens, token, "kv2", now: 1899) == .used)
        }
    }

    @Test func `what is no token says nothing about those there are, and leaves its folder alone`() throws {
        try withTokens { tokens in
            let token = try tokens.make(for: "kv1", lifetimeSeconds: 900, now: 1000)
            let id = String(token.prefix(8))
            let wrong = [
                "", ".", "a.b", id, id + ".", id + "." + String(repeating: "0", count: 32), "../../etc." + token.suffix(32),
                "00000000." + token.suffix(32), token.uppercased() + "x", token + "0",
            ]
            for word in wrong { #expect(refusal(tokens, word, "kv1", now: 1000) == .notValid, "\(word)") }
            #expect(refusal(tokens, token, "kv1", now: 1000) == nil)
        }
    }

    @Test func `only a hash of the secret is kept`() throws {
        try withTokens { tokens in
            let token = try tokens.make(for: "kv1", lifetimeSeconds: 900, now: 1000)
            let path = "\(tokens.folder)/\(token.prefix(8)).json"
            let text = String(decoding: try KeyFile.read(path).bytes, as: UTF8.self)
            #expect(!text.contains(token.suffix(32)) && text.contains("kv1"))
            #expect(try KeyFile.read(path).mode & 0o777 == 0o600)
            tokens.removeOld(now: 1900)
            #expect(KeyFile.exists(path))
            tokens.removeOld(now: 1900 + 86_401)
            #expect(!KeyFile.exists(path))
        }
    }

    @Test func `hosts join by the lines that are printed, and by no others`() throws {
        let fleet = try FleetTests.Fleet()
        let waiting = UpProcess(
            [
                "enroll", "--token", "n1", "n2", "--listen", "127.0.0.1:0", "-f", fleet.folder + "/cluster.yaml", "--state-dir",
                fleet.folder + "/state",
            ],
            command: [RealTools.covey], name: "enroll", logs: fleet.folder)
        #expect(eventually { waiting.instructions.split(separator: "\n").count == 4 }, "\(waiting.instructions) \(waiting.events)")
        let lines = waiting.instructions.split(separator: "\n").filter { $0.hasPrefix("covey agent join ") }.map { line in
            line.split(separator: " ").map(String.init)
        }
        try #require(lines.count == 2)
        func join(_ words: [String], _ host: String, _ changes: [String: String] = [:]) -> Subprocess {
            var words = Array(words.dropFirst())
            for (option, value) in changes { words[words.firstIndex(of: option)! + 1] = value }
            return Subprocess.run(
                "/bin/sh", ["-c", "exec \"$@\" 2>&1", "sh", RealTools.covey] + words + ["--root", "\(fleet.folder)/\(host)"])
        }
        let wrongPin = join(lines[0], "n1", ["--ca-pin": "sha256:" + String(repeating: "0", count: 64)])
        #expect(wrongPin.status == 3 && wrongPin.output.contains("the token was not sent"), "\(wrongPin.output)")
        let wrongToken = join(lines[0], "n1", ["--token": "00000000." + String(repeating: "0", count: 32)])
        #expect(wrongToken.status == 3 && wrongToken.output.contains("the token is not valid"), "\(wrongToken.output)")
        let other = join(lines[0], "n2", ["--host": "n2"])
        #expect(other.status == 3 && other.output.contains("the token is for n1, not for n2"), "\(other.output)")
        #expect(fleet.text("n1/etc/covey/agent/agent.crt").isEmpty)

        let joined = join(lines[0], "n1")
        try #require(joined.status == 0, "\(joined.output)")
        let again = join(lines[0], "n1")
        #expect(again.status == 3 && again.output.contains("has been used"), "\(again.output)")
        #expect(join(lines[1], "n2").status == 0)
        #expect(eventually { waiting.events.contains("n2  joined: agent on") }, "\(waiting.events)")
        let leaf = try Certificate.load(fleet.folder + "/n1/etc/covey/agent/agent.crt")[0]
        #expect(try leaf.commonName == "agent:n1" && leaf.belongs(to: PrivateKey.load(fleet.folder + "/n1/etc/covey/agent/agent.key")))
        fleet.start("n1")
        fleet.start("n2")
        #expect(fleet.covey("op", "ls").output.contains("no operation was recorded"))
    }
}
