// Directories and files that go between our tools and servers and real ones, served by the other side.

import Foundations
import TestSupport
import Testing

@Suite(.serialized)
struct `Util: served by both sides` {
    private let workshop = Workshop()

    private func restoreWords(_ server: EtcdProcess, _ snapshot: String, _ directory: String) -> [String] {
        let url = "http://127.0.0.1:\(server.peerPort)"
        return [
            "snapshot", "restore", snapshot, "--data-dir", directory, "--name", server.name, "--initial-cluster",
            "\(server.name)=\(url)", "--initial-advertise-peer-urls", url,
        ]
    }

    /// Keys, deletions, a lease, a user, a compaction; more entries than a snapshot covers.
    private func fill(_ control: RealControl) {
        for i in 0..<30 { #expect(control("put", "k\(i)", "v\(i)") == "OK\n") }
        #expect(control("lease", "grant", "36000").hasPrefix("lease "))
        #expect(control("role", "add", "r") == "Role r created\n")
        #expect(control("user", "add", "u:p") == "User u created\n")
        #expect(control("compact", "15") == "compacted revision 15\n")
        for i in 0..<40 { #expect(control("put", "again", "\(i)") == "OK\n") }
        #expect(control("del", "k7") == "1\n")
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `a real server's snapshot, restored by us, is served by ours; ours by a real one`() async throws {
        let tools = try #require(RealTools.etcd35, "run: make deps")
        let real = await EtcdProcess(tools + "/etcd").start()
        let control = RealControl(endpoint: "127.0.0.1:\(real.clientPort)")
        fill(control)
        let hash = control.hashKV
        let keys = control("get", "", "--prefix")
        #expect(!control("snapshot", "save", workshop.folder + "/real.db").hasPrefix("failed"))
        await real.kill()

        #expect(workshop.called("etcdutl", restoreWords(real, "real.db", "ours")).status == 0)
        #expect(workshop.util("hashkv", "ours").output.hasPrefix(hash + ", "))
        let ours = await workshop.server(on: "ours", like: real).start()
        #expect(control.hashKV == hash)
        #expect(control("get", "", "--prefix") == keys)
        #expect(control("user", "list") == "u\n")
        #expect(control("lease", "list").hasPrefix("found 1 leases"))
        #expect(control("put", "ours", "x") == "OK\n")
        let newHash = control.hashKV
        await ours.kill()

        workshop.shell("mv \(ours.folder)/data stopped")
        let export = workshop.util("export", "stopped", "--snapshot", "ours.db")
        #expect(export.status == 0, "\(export.errors)")
        let theirStatus = workshop.run(tools + "/etcdutl", ["snapshot", "status", "ours.db"])
        #expect(theirStatus.status == 0 && theirStatus.output == workshop.util("snapshot", "status", "ours.db").output)
        #expect(workshop.run(tools + "/etcdutl", restoreWords(real, "ours.db", "theirs")).status == 0)
        let theirs = await workshop.server(tools + "/etcd", on: "theirs", like: real).start()
        #expect(control.hashKV == newHash)
        #expect(control("get", "ours") == "ours\nx\n")
        await theirs.kill()
    }

    private static let servers = [RealTools.etcd35.map { $0 + "/etcd" }, RealTools.etcd34Server].compactMap { $0 }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)), arguments: servers)
    func `a killed member goes on as ours, with what its database had not taken yet, and back`(program: String) async throws {
        // The database is written when a snapshot of the log is, and otherwise stays behind.
        let lazy = ["--snapshot-count", "50", "--backend-batch-interval", "1h", "--backend-batch-limit", "1000000"]
        let real = await EtcdProcess(program, lazy).start()
        let control = RealControl(endpoint: "127.0.0.1:\(real.clientPort)")
        fill(control)
        let hash = control.hashKV
        let keys = control("get", "", "--prefix")
        let running = workshop.util("import", real.folder + "/data", "--data-dir", "no")
        #expect(running.status == 1)
        #expect(running.errors.contains("a running etcd is using"))
        await real.kill()

        workshop.shell("mv \(real.folder)/data old")
        let before = workshop.fingerprint("old")
        let run = workshop.util("import", "old", "--data-dir", "new")
        #expect(run.status == 0, "\(run.errors)")
        #expect(!run.errors.contains("\"entries-applied\": 0"), "the log holds more than the database: \(run.errors)")
        #expect(workshop.fingerprint("old") == before)
        #expect(workshop.util("hashkv", "new").output.hasPrefix(hash + ", "))
        #expect(workshop.util("verify", "new").status == 0)

        let ours = await workshop.server(on: "new", like: real).start()
        #expect(control.hashKV == hash)
        #expect(control("get", "", "--prefix") == keys)
        #expect(control("member", "list").contains(", started, m0, http://127.0.0.1:\(real.peerPort)"))
        #expect(control("put", "ours", "x") == "OK\n")
        let newHash = control.hashKV
        await ours.kill()

        workshop.shell("mv \(ours.folder)/data stopped")
        let export = workshop.util("export", "stopped", "--data-dir", "back")
        #expect(export.status == 0, "\(export.errors)")
        let tools = try #require(RealTools.etcd35, "run: make deps")
        let back = await workshop.server(tools + "/etcd", on: "back", like: real).start()
        #expect(control.hashKV == newHash)
        #expect(control("get", "ours") == "ours\nx\n")
        #expect(control("put", "back", "y") == "OK\n")
        await back.kill()
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `three members restored from one file form a new cluster`() async throws {
        let ports = (0..<3).map { _ in (client: freePort(), peer: freePort()) }
        let list = ports.enumerated().map { "m\($0)=http://127.0.0.1:\($1.peer)" }.joined(separator: ",")
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        var members: [EtcdProcess] = []
        for (i, port) in ports.enumerated() {
            let words = [
                "snapshot", "restore", "s.db", "--data-dir", "d\(i)", "--name", "m\(i)", "--initial-cluster", list,
                "--initial-advertise-peer-urls", "http://127.0.0.1:\(port.peer)", "--initial-cluster-token", "new",
            ]
            #expect(workshop.called("etcdutl", words).status == 0)
            let member = EtcdProcess(workshop.folder + "/etcd", name: "m\(i)", ports: port, cluster: list)
            workshop.shell("mv d\(i) \(member.folder)/data")
            members.append(member)
        }
        let started = members.map { $0.launched() }
        let reachable = await comesTrue { ports.allSatisfy { canConnect(port: $0.client) } }
        #expect(reachable)
        let first = RealControl(endpoint: "127.0.0.1:\(ports[0].client)")
        let isServing = await comesTrue { first("put", "joined", "yes") == "OK\n" }
        #expect(isServing)
        let second = RealControl(endpoint: "127.0.0.1:\(ports[2].client)")
        #expect(second("get", "joined") == "joined\nyes\n")
        #expect(second("get", "a") == "a\n1c\n")
        let allPublished = await comesTrue {
            second("member", "list").split(separator: "\n").count { $0.contains(", started, m") } == 3
        }
        #expect(allPublished)
        #expect(first.hashKV == second.hashKV)
        for member in started { await member.kill() }
    }
}
