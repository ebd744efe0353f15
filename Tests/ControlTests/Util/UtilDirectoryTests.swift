// import, defrag and verify on recorded directories, whole and damaged.

import Foundations
import TestSupport
import Testing

private let versions = ["3.5.1", "3.4.23"]
private let segment = "old/member/wal/0000000000000000-0000000000000000.wal"

@Suite struct `Util: data directories` {
    private let workshop = Workshop()

    @Test(arguments: versions)
    func `a recorded directory is taken over and left as it is`(version: String) {
        workshop.unpack(version, as: "old")
        let before = workshop.fingerprint("old")
        let run = workshop.util("import", "old", "--data-dir", "new", "--wal-dir", "log")
        #expect(run.status == 0, "\(run.errors)")
        #expect(workshop.fingerprint("old") == before)
        #expect(workshop.util("hashkv", "new").output == "423053886, 12, 6\n")
        #expect(workshop.util("hashkv", "old").output == "423053886, 12, 6\n")
        let verified = workshop.util("verify", "new", "--wal-dir", "log")
        #expect(verified.status == 0, "\(verified.errors)")
        #expect(verified.output.contains("member b71f75320dc06a6c of cluster 1c45a069f3a1d796, term 2"))
        #expect(verified.output.contains("revision 12, 5 keys, 1 members"))
        #expect(workshop.util("import", "new", "--data-dir", "newer").errors.contains("is a data directory of ours already"))
    }

    @Test(arguments: versions)
    func `defrag changes the file and not what is in it`(version: String) {
        workshop.unpack(version, as: "old")
        #expect(workshop.util("import", "old", "--data-dir", "new").status == 0)
        for directory in ["old", "new"] {
            let run = workshop.called("etcdutl", ["defrag", "--data-dir", directory])
            #expect(run.status == 0, "\(run.errors)")
            #expect(run.errors.contains("finished defragmenting directory"))
            #expect(workshop.util("hashkv", directory).output == "423053886, 12, 6\n")
            #expect(workshop.util("verify", directory).status == 0)
        }
    }

    struct Damage: CustomTestStringConvertible, Sendable {
        var name: String
        var says: String
        var change: @Sendable (Workshop) -> Void
        var testDescription: String { name }
    }

    @Test(arguments: [
        Damage(name: "no database", says: "is no data directory of") { $0.shell("rm old/member/snap/db") },
        Damage(name: "no log", says: "old/member/wal") { $0.shell("rm -r old/member/wal") },
        Damage(name: "empty log folder", says: "holds no log") { $0.shell("rm old/member/wal/*") },
        Damage(name: "a bit in the log", says: "\(segment) at byte ") { $0.change(segment) { $0[$0.count / 2] ^= 1 } },
        Damage(name: "the log lost its end", says: "part of the log is lost") { workshop in
            // Without the newest snapshot the log counts from the one before; cut behind that.
            workshop.shell("rm -f old/member/snap/*16.snap")
            workshop.change(segment) { $0.removeLast(700) }
        },
        Damage(name: "nothing but the first record", says: "no record says whose log it is") {
            $0.change(segment) { $0 = Bytes($0.prefix(16)) }
        },
        Damage(name: "a page of the database", says: "the database file is damaged") {
            $0.change("old/member/snap/db") { bytes in for page in 2..<6 { bytes[page * 4096 + 8] ^= 0x80 } }
        },
    ])
    func `a damaged directory is refused, and leaves nothing`(damage: Damage) {
        workshop.unpack("3.5.1", as: "old")
        damage.change(workshop)
        for words in [["import", "old", "--data-dir", "new"], ["verify", "old"]] {
            let run = workshop.called("etcdutl", words)
            #expect(run.status == 1, "\(words)")
            #expect(run.errors.contains(damage.says), "\(words): \(run.errors)")
        }
        #expect(!workshop.exists("new") && !workshop.exists("new.part"))
    }

    @Test func `a database older than the newest snapshot is a rollback, unless the received one lies beside it`() {
        workshop.unpack("3.5.1", as: "old")
        workshop.unpack("3.5.1", as: "other")
        // A database of an earlier moment: a restore of this cluster's own beginning.
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        #expect(workshop.util("snapshot", "restore", "s.db", "--data-dir", "early").status == 0)
        #expect(workshop.util("export", "early", "--data-dir", "early-etcd").status == 0)
        workshop.shell("cp early-etcd/member/snap/db old/member/snap/db")
        let refused = workshop.util("import", "old", "--data-dir", "new")
        #expect(refused.status == 1)
        #expect(refused.errors.contains("stands at entry 1, before the snapshot at 22"), "\(refused.errors)")
        workshop.shell("cp other/member/snap/db old/member/snap/0000000000000016.snap.db")
        #expect(workshop.util("import", "old", "--data-dir", "new").status == 0)
        #expect(workshop.util("hashkv", "new").output == "423053886, 12, 6\n")
    }

    @Test func `a directory in use is left alone`() {
        workshop.unpack("3.5.1", as: "old")
        #expect(workshop.util("import", "old", "--data-dir", "new").status == 0)
        for words in ["hashkv new", "verify new", "defrag --data-dir new", "export new --snapshot x"] {
            let script = "exec 9>new/member/lock && flock -x 9 && ./etcdutl \(words) 2>&1; echo status $?"
            let output = workshop.shell(script)
            #expect(output.contains("is using \"new/member/lock\""), "\(words): \(output)")
            #expect(output.hasSuffix("status 1\n"))
        }
    }
}
