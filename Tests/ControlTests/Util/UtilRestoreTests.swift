// snapshot restore, and the hashes and ids it must arrive at.

import Foundations
import JSON
import TestSupport
import Testing

private let snapshots = ["store-3.5.1.snapshot", "store-3.4.23.snapshot", "handwritten-minimal.snapshot"]

@Suite struct `Util: snapshot restore` {
    private let workshop = Workshop()

    @Test(arguments: snapshots)
    func `restored keys have the recorded hashes at every revision`(snapshot: String) throws {
        workshop.place(snapshot, as: "s.db")
        #expect(workshop.util("snapshot", "restore", "s.db", "--data-dir", "d").status == 0)
        let name = snapshot.contains("3.4.23") ? "util/store-3.4.23.json" : "util/store-3.5.1.json"
        let document = try JSONValue(parsing: Workshop.recorded(name).rawSpan)
        let answers = document["hashkv"]!["after compaction at 6, current revision 12"]!.array!
        var compared = 0
        for answer in answers {
            let revision = answer["revision"]!.int64!
            for place in ["s.db", "d"] {
                let run = workshop.util("hashkv", place, "--rev", "\(revision)")
                if let hash = answer["body"]!["hash"]?.int64 {
                    #expect(run.output == "\(hash), \(revision == 0 ? 12 : revision), 6\n", "\(place) at \(revision)")
                    compared += 1
                } else if revision != 6 {
                    // Releases since 3.5.10 do answer at the compacted revision itself, and so do we.
                    #expect(run.errors == "Error: \(answer["body"]!.string!)\n", "\(place) at \(revision)")
                    #expect(run.status == 1)
                }
            }
        }
        #expect(compared >= 10)
        #expect(workshop.util("verify", "d").status == 0)
    }

    @Test func `ids are those that real servers computed`() throws {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        let table = try JSONValue(parsing: Workshop.recorded("util/member-and-cluster-ids.json").rawSpan)
        let cases = table["bootstrap"]!.array!.filter { $0["case"]!.string!.hasPrefix("live") }
        #expect(cases.count >= 2)
        for (i, row) in cases.enumerated() {
            let members = row["initial_cluster"]!.array!.map { member in
                (name: member["name"]!.string!, urls: member["peer_urls"]!.array!.map { $0.string! })
            }
            let cluster = members.flatMap { member in member.urls.map { "\(member.name)=\($0)" } }.joined(separator: ",")
            let own = members[0]
            let run = workshop.util(
                "snapshot", "restore", "s.db", "--data-dir", "d\(i)", "--name", own.name, "--initial-cluster", cluster,
                "--initial-advertise-peer-urls", own.urls.joined(separator: ","), "--initial-cluster-token",
                row["token"]!.string!)
            #expect(run.status == 0, "\(run.errors)")
            let id = row["members"]!.array!.first { $0["name"]!.string! == own.name }!["id_hex"]!.string!
            let wanted = "member \(id) of cluster \(row["cluster_id_hex"]!.string!)"
            #expect(workshop.util("verify", "d\(i)").output.contains(wanted), "\(row["case"]!.string!)")
        }
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `the log is the one etcdutl writes, to the byte`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps") + "/etcdutl"
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        let words = [
            "snapshot", "restore", "s.db", "--name", "n2", "--initial-cluster-token", "t9", "--initial-cluster",
            "n1=http://127.0.0.1:1111,n2=http://127.0.0.1:2222,n3=http://127.0.0.1:3333", "--initial-advertise-peer-urls",
            "http://127.0.0.1:2222",
        ]
        #expect(workshop.run(real, words + ["--data-dir", "real"]).status == 0)
        #expect(workshop.called("etcdutl", words + ["--data-dir", "ours", "--wal-dir", "log"]).status == 0)
        let name = "0000000000000000-0000000000000000.wal"
        #expect(workshop.read("log/" + name) == workshop.read("real/member/wal/" + name))
        #expect(workshop.exists("ours/member/snap/0000000000000001-0000000000000003.snap"))
    }

    @Test func `an existing directory is used only when it is empty`() {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        workshop.shell("mkdir empty full && touch full/x")
        #expect(workshop.util("snapshot", "restore", "s.db", "--data-dir", "empty").status == 0)
        #expect(workshop.util("hashkv", "empty").output == "423053886, 12, 6\n")
        #expect(workshop.shell("ls -A empty") == "member\n")
        let refused = workshop.util("snapshot", "restore", "s.db", "--data-dir", "empty/")
        #expect(refused.status == 1)
        #expect(refused.errors.contains("Error: data-dir \"empty\" not empty or could not be read\n"))
    }

    @Test func `what a broken-off restore left is replaced, what is not its own is not`() {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        workshop.shell("mkdir -p d.part/member/wal d.part/member/store.tmp && touch d.part/member/store.tmp/data.mdb")
        #expect(workshop.util("snapshot", "restore", "s.db", "--data-dir", "d").status == 0)
        #expect(!workshop.exists("d.part"))
        workshop.shell("mkdir e.part && echo mine > e.part/diary")
        let refused = workshop.util("snapshot", "restore", "s.db", "--data-dir", "e")
        #expect(refused.status == 1)
        #expect(refused.errors.contains("\"e.part\" exists and was not left by a broken-off restore"))
        #expect(workshop.shell("cat e.part/diary") == "mine\n")
    }

    @Test func `the revision can be raised past what clients may have seen`() {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        let half = workshop.util("snapshot", "restore", "s.db", "--data-dir", "d", "--bump-revision", "1000000")
        #expect(half.status == 1)
        #expect(half.errors == "Error: --mark-compacted required if --bump-revision > 0\n")
        let run = workshop.util(
            "snapshot", "restore", "s.db", "--data-dir", "d", "--bump-revision", "1000000", "--mark-compacted")
        #expect(run.status == 0, "\(run.errors)")
        #expect(workshop.util("verify", "d").output.contains("revision 1000012, 5 keys"))
        #expect(workshop.util("hashkv", "d", "--rev", "12").errors == "Error: mvcc: required revision has been compacted\n")
        let tooFar = workshop.util(
            "snapshot", "restore", "s.db", "--data-dir", "e", "--bump-revision", "9223372036854775807", "--mark-compacted")
        #expect(tooFar.status == 1)
        #expect(!workshop.exists("e") && !workshop.exists("e.part"))
    }

    // MARK: damage

    struct Damage: CustomTestStringConvertible, Sendable {
        var name: String
        var skipsHash = false
        var says: String
        var change: @Sendable (inout Bytes) -> Void
        var testDescription: String { name }
    }

    @Test(arguments: [
        Damage(name: "empty", says: "is empty: it holds no snapshot") { $0 = [] },
        Damage(name: "cut off in the middle", says: "snapshot missing hash but --skip-hash-check=false") {
            $0.removeLast($0.count / 2 + 16)
        },
        Damage(name: "digest cut off", says: "snapshot missing hash but --skip-hash-check=false") { $0.removeLast(32) },
        Damage(name: "one bit of a value", says: "expected sha256 ") { $0[$0.count / 2] ^= 1 },
        Damage(name: "one bit of the digest", says: "expected sha256 ") { $0[$0.count - 1] ^= 1 },
        Damage(name: "other bytes", skipsHash: true, says: "neither meta page is valid") {
            $0 = Bytes(repeating: 0x41, count: 8192)
        },
        Damage(name: "both metas", skipsHash: true, says: "neither meta page is valid") {
            $0[30] ^= 1
            $0[4096 + 30] ^= 1
        },
        Damage(name: "cut off, not checked", skipsHash: true, says: "pages are in use, the file has") {
            $0.removeLast(12_000)
        },
        Damage(name: "a page's number", skipsHash: true, says: "it says it is page") { bytes in
            // Every page behind the metas: whichever are in use.
            for page in 2..<6 { bytes[page * 4096] ^= 0x40 }
        },
    ])
    func `a damaged file is refused, and leaves nothing`(damage: Damage) {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        workshop.change("s.db", damage.change)
        let words = ["snapshot", "restore", "s.db", "--data-dir", "d"] + (damage.skipsHash ? ["--skip-hash-check"] : [])
        let run = workshop.called("etcdutl", words)
        #expect(run.status == 1)
        #expect(run.errors.contains(damage.says), "\(run.errors)")
        #expect(!workshop.exists("d") && !workshop.exists("d.part"))
        #expect(workshop.util("verify", "s.db").status == (damage.name == "digest cut off" ? 0 : 1))
    }

    @Test func `status of our name tells a changed file, under etcdutl's it warns`() {
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        // The digest itself: the data are as they were.
        workshop.change("s.db") { $0[$0.count - 1] ^= 1 }
        let ours = workshop.util("snapshot", "status", "s.db")
        #expect(ours.status == 1)
        #expect(ours.errors.contains("do not fit the SHA-256"))
        let theirs = workshop.called("etcdutl", ["snapshot", "status", "s.db"])
        #expect(theirs.status == 0 && theirs.output == "a4c7f2ea, 12, 21, 25 kB\n")
        #expect(theirs.errors.contains("do not fit the SHA-256"))
    }
}

extension Workshop {
    static func recorded(_ name: String) -> Bytes { Recorded.read("\(Recorded.folder)/Data/\(name)") }
}
