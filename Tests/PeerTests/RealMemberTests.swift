// Against a real etcd 3.5.1: we are the second member of its cluster of two, which it cannot start without.

import Foundations
import Glibc
import Linux
import Raft
import Server
import State
import TestSupport
import Testing

/// A real server, killed at the end.
final class RealMember {
    let clientPort: Int
    let peerPort: Int
    let folder: String
    private var pid: pid_t = 0
    var url: String { "http://127.0.0.1:\(peerPort)" }
    var log: String { folder + "/log" }

    init(_ program: String, name: String, cluster: String, peerPort: Int, state: String = "new", more: [String] = []) throws {
        self.peerPort = peerPort
        clientPort = freePort()
        folder = temporaryFolder("real")
        let client = "http://127.0.0.1:\(clientPort)"
        let arguments =
            [
                program, "--name", name, "--data-dir", folder + "/data", "--listen-peer-urls", url,
                "--initial-advertise-peer-urls", url, "--listen-client-urls", client, "--advertise-client-urls", client,
                "--initial-cluster", cluster, "--initial-cluster-state", state, "--initial-cluster-token", "peers",
                "--logger", "zap", "--log-outputs", folder + "/log",
            ] + more
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var argv = arguments.map { strdup($0) } + [nil]
        defer { for i in argv.indices { free(argv[i]) } }
        try #require(posix_spawn(&pid, program, &actions, nil, &argv, environ) == 0)
    }

    deinit {
        kill(pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        _ = Subprocess.run("/bin/rm", ["-rf", folder])
    }

    var logText: String { Subprocess.run("/bin/cat", [log]).output }
}

/// What is needed of raft to be a follower who gives its vote and takes every entry.
private final class Voter {
    let member: TestMember
    var term: Term = 0
    /// Terms of the entries, the first at index 1.
    var log: [Term]
    var commit: LogIndex = 0
    var entries: [Entry] = []

    init(_ member: TestMember, bootstrapEntries: Int) {
        self.member = member
        log = Array(repeating: 1, count: bootstrapEntries)
        member.onMessage = { [unowned self] in step($0) }
    }

    private func step(_ message: Message) {
        term = max(term, message.kind == .preVote ? 0 : message.term)
        var answer = Message(.heartbeatResponse, to: message.from, from: member.id, term: message.term)
        switch message.kind {
        case .preVote: answer.kind = .preVoteResponse
        case .vote: answer.kind = .voteResponse
        case .heartbeat:
            answer.context = message.context
            commit = message.commit
        case .append:
            answer.kind = .appendResponse
            commit = message.commit
            if message.index > LogIndex(log.count) {
                answer.reject = true
                answer.index = message.index
                answer.rejectHint = LogIndex(log.count)
                answer.logTerm = log.last ?? 0
            } else {
                log.removeSubrange(Int(message.index)...)
                log += message.entries.map(\.term)
                entries += message.entries
                answer.index = LogIndex(log.count)
            }
        default: return
        }
        member.transport.send([answer])
    }
}

@Suite(.serialized) struct RealMemberTests {
    private static let etcd35 = RealTools.etcd35.map { $0 + "/etcd" }
    static let servers = [etcd35, RealTools.etcd34Server].compactMap { $0 }

    @Test(.enabled(if: RealTools.required(etcd35)), arguments: servers)
    func `a real member elects itself with our vote, and we take its log`(_ program: String) throws {
        let test = try TestLoop()
        let (realPort, ourPort) = (freePort(), freePort())
        let (realURL, ourURL) = ("http://127.0.0.1:\(realPort)", "http://127.0.0.1:\(ourPort)")
        let real = MemberID.atBootstrap(peerURLs: [realURL], token: "peers")
        let ours = MemberID.atBootstrap(peerURLs: [ourURL], token: "peers")
        let cluster = ClusterID(bootstrapMembers: [real, ours])
        let us = try TestMember(
            test.loop, ours.rawValue, cluster: cluster.rawValue, folder: test.folder, version: "3.5.1", port: ourPort)
        test.members.append(us)
        let voter = Voter(us, bootstrapEntries: 2)
        let server = try RealMember(
            program, name: "real", cluster: "real=\(realURL),covey=\(ourURL)", peerPort: realPort,
            more: ["--pre-vote"])
        us.transport.setPeer(real, urls: [realURL])
        // It opens its streams with us, we ours with it, it asks for our vote, leads, and sends its log.
        #expect(test.run { us.transport.streamCount(to: real) == 2 }, "\(us.reports) \(server.logText.suffix(2000))")
        #expect(test.run { us.transport.activeSince(real) != nil })
        #expect(test.run { us.messages.contains { $0.kind == .preVote } })
        #expect(test.run { us.messages.contains { $0.kind == .vote } })
        #expect(test.run { voter.entries.contains { ($0.data?.count ?? 0) > 0 } })
        #expect(test.run { voter.commit >= 4 })
        #expect(test.run { us.messages.contains { $0.kind == .heartbeat && $0.from == real } })

        // A put through the real member is committed with our acknowledgement, and its data reaches us.
        let control = RealTools.etcd35.map { $0 + "/etcdctl" } ?? ""
        let value = String(repeating: "v", count: 100_000)
        let endpoint = "http://127.0.0.1:\(server.clientPort)"
        let runner = Locked<Subprocess?>(nil)
        let putting = BackgroundThread(name: "etcdctl") {
            let result = Subprocess.run(
                control, ["--endpoints", endpoint, "put", "key", value], environment: ["ETCDCTL_API": "3"])
            runner.with { $0 = result }
        }
        #expect(test.run { runner.with { $0 != nil } })
        putting.join()
        #expect(runner.with { $0?.output } == "OK\n")
        #expect(voter.entries.contains { ($0.data?.count ?? 0) > 100_000 })

        // It takes our snapshots. (This one has no place for it in the configuration, so it answers with what it has.)
        var snapshot = Message(.snapshot, to: real, from: ours, term: voter.term + 10)
        snapshot.snapshot = Snapshot(
            metadata: SnapshotMetadata(index: 1000, term: voter.term, confState: ConfState(voters: [ours])),
            data: Bytes("{}".utf8))
        us.messages = []
        us.transport.sendSnapshot(snapshot, database: Zeros(3 << 20))
        #expect(test.run { us.snapshotResults == [true] && us.messages.contains { $0.kind == .appendResponse } })

        // Its pages.
        var pages: [PeerResult] = []
        for path in ["/members", "/version", "/raft/probing"] {
            us.transport.fetch(PeerRequest([realURL], path)) { pages.append($0) }
        }
        #expect(test.run { pages.count == 3 })
        #expect(pages.allSatisfy { if case .success(let page) = $0 { page.status == 200 } else { false } }, "\(pages)")
        let direct = PeerFetch.wait(PeerRequest(["http://127.0.0.1:1", realURL], "/members"))
        guard case .success(let members) = direct else {
            Issue.record("\(direct)")
            return
        }
        #expect(members.cluster == "\(cluster)" && members.text.contains("\(ours.rawValue)"))
    }

    @Test(.enabled(if: RealTools.required(etcd35)))
    func `a real member that does not know us says so, and one of another cluster too`() throws {
        let test = try TestLoop()
        let port = freePort()
        let program = try #require(Self.etcd35)
        let url = "http://127.0.0.1:\(port)"
        let real = MemberID.atBootstrap(peerURLs: [url], token: "peers")
        let cluster = ClusterID(bootstrapMembers: [real])
        let server = try RealMember(program, name: "real", cluster: "real=\(url)", peerPort: port)
        let stranger = try test.member(0xb2, cluster: cluster.rawValue, version: "3.5.1")
        let foreigner = try test.member(0xb3, cluster: 0xc9)
        for member in [stranger, foreigner] { member.transport.setPeer(real, urls: [url]) }
        #expect(test.run { stranger.reports.contains { $0.contains("404 error sender not found") } }, "\(stranger.reports)")
        #expect(test.run { foreigner.reports.contains { $0.contains("412 cluster ID mismatch") } }, "\(foreigner.reports)")
        _ = server
    }

    @Test(.enabled(if: RealTools.required(etcd35)), arguments: servers)
    func `a real leader whose log is too short for us sends its database`(_ program: String) throws {
        let test = try TestLoop()
        let (realPort, ourPort) = (freePort(), freePort())
        let (realURL, ourURL) = ("http://127.0.0.1:\(realPort)", "http://127.0.0.1:\(ourPort)")
        let real = MemberID.atBootstrap(peerURLs: [realURL], token: "peers")
        let server = try RealMember(
            program, name: "real", cluster: "real=\(realURL)", peerPort: realPort, more: ["--snapshot-count", "100"])
        let client = "http://127.0.0.1:\(server.clientPort)"
        let loader = try test.member(0x99)
        // It keeps 5,000 entries for those who lag behind.
        var (sent, done, failed) = (0, 0, 0)
        func put() {
            guard sent < 5300 else { return }
            sent += 1
            let body = Bytes("{\"key\":\"aw==\",\"value\":\"\(String(repeating: "dnZ2", count: 30))\"}".utf8)
            loader.transport.fetch(PeerRequest([client], "/v3/kv/put", method: "POST", body: body)) { result in
                if case .success(let answer) = result, answer.status == 200 {
                    done += 1
                } else {
                    // Not up yet.
                    sent -= 1
                    failed += 1
                }
                loader.transport.loop.schedule(after: failed > 0 && done == 0 ? 20_000_000 : 0) { put() }
            }
        }
        for _ in 0..<8 { put() }
        #expect(test.run(seconds: 600) { done == 5300 }, "\(done) done, \(failed) failed")

        // Added as a learner, so that the real one needs nobody's vote.
        let control = (RealTools.etcd35 ?? "") + "/etcdctl"
        let added = Subprocess.run(
            control, ["--endpoints", client, "member", "add", "covey", "--peer-urls", ourURL, "--learner"])
        let words = added.output.split(separator: " ")
        let ours = try #require(words.count > 1 ? MemberID(hexadecimal: words[1]) : nil, "\(added.output)")
        let us = try TestMember(
            test.loop, ours.rawValue, cluster: ClusterID(bootstrapMembers: [real]).rawValue, folder: test.folder,
            version: "3.5.1", port: ourPort)
        test.members.append(us)
        let voter = Voter(us, bootstrapEntries: 0)
        us.transport.setPeer(real, urls: [realURL])
        #expect(test.run { us.snapshots.count == 1 }, "\(us.reports) \(server.logText.suffix(2000))")
        let (message, database) = try #require(us.snapshots.first)
        let snapshot = try #require(message.snapshot)
        #expect(snapshot.metadata.index > 5300 && snapshot.metadata.confState.voters == [real])
        #expect(snapshot.metadata.confState.learners == [ours])
        #expect(String(decoding: snapshot.data, as: UTF8.self).contains("\(ours)"))
        // A bbolt file: whole pages, and its mark on the first.
        let file = try #require(fopen(database.path, "r"))
        defer { fclose(file) }
        var head = Bytes(repeating: 0, count: 4096)
        #expect(fread(&head, 1, 4096, file) == 4096)
        #expect(Array(head[16..<20]) == [0xed, 0xda, 0x0c, 0xed])
        fseek(file, 0, SEEK_END)
        #expect(ftell(file) % 4096 == 0 && ftell(file) > 16384)

        // Acknowledged, the log goes on from there over the streams.
        voter.log = Array(repeating: snapshot.metadata.term, count: Int(snapshot.metadata.index))
        us.transport.send([
            Message(.appendResponse, to: real, from: ours, term: message.term, index: snapshot.metadata.index)
        ])
        let put = Subprocess.run(control, ["--endpoints", client, "put", "after", "snapshot"])
        #expect(put.output == "OK\n")
        #expect(test.run { voter.entries.contains { $0.index > snapshot.metadata.index && $0.data != nil } })
    }

    @Test(.enabled(if: RealTools.required(etcd35)))
    func `a real member that removed us tells us`() throws {
        let test = try TestLoop()
        let (realPort, ourPort) = (freePort(), freePort())
        let (realURL, ourURL) = ("http://127.0.0.1:\(realPort)", "http://127.0.0.1:\(ourPort)")
        let real = MemberID.atBootstrap(peerURLs: [realURL], token: "peers")
        let server = try RealMember(
            try #require(Self.etcd35), name: "real", cluster: "real=\(realURL)", peerPort: realPort)
        let control = (RealTools.etcd35 ?? "") + "/etcdctl"
        let endpoint = "http://127.0.0.1:\(server.clientPort)"
        func ctl(_ arguments: String...) -> Subprocess { Subprocess.run(control, ["--endpoints", endpoint] + arguments) }
        var status = ctl("endpoint", "health")
        for _ in 0..<50 where status.status != 0 { status = ctl("endpoint", "health") }
        let added = ctl("member", "add", "covey", "--peer-urls", ourURL, "--learner")
        let words = added.output.split(separator: " ")
        let ours = try #require(words.count > 1 ? MemberID(hexadecimal: words[1]) : nil, "\(added.output)")
        #expect(ctl("member", "remove", "\(ours)").status == 0)
        let us = try TestMember(
            test.loop, ours.rawValue, cluster: ClusterID(bootstrapMembers: [real]).rawValue, folder: test.folder,
            port: ourPort)
        test.members.append(us)
        us.transport.setPeer(real, urls: [realURL])
        #expect(test.run { us.removal != nil }, "\(us.reports)")
    }
}
