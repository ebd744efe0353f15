// The program called etcdutl beside what real etcdutl 3.5.1 printed, to the byte.

import Foundations
import JSON
import TestSupport
import Testing

@Suite struct `Util: the program called etcdutl` {
    private static let recorded = Recorded.lines("util/etcdutl-3.5.1.jsonl")

    @Test func `helps, answers and refuses as etcdutl does`() {
        let workshop = Workshop()
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        workshop.shell("mkdir full && touch full/x && printf x > file")
        for line in Self.recorded {
            let words = line["argv"]!.array!.map { $0.string! }
            let run = workshop.called("etcdutl", words)
            #expect(run.output == line["stdout"]!.string!, "\(words)")
            #expect(run.errors == line["stderr"]!.string!, "\(words)")
            #expect(Int64(run.status) == line["exit"]!.int64!, "\(words)")
        }
        #expect(!workshop.exists("q"), "a refusal leaves nothing")
        #expect(!workshop.exists("q.part"))
    }

    @Test func `knows what later releases and we added, without listing it`() {
        let workshop = Workshop()
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        #expect(workshop.called("etcdutl", ["hashkv", "s.db"]).output == "423053886, 12, 6\n")
        #expect(workshop.called("etcdutl", ["completion", "bash"]).status == 0)
        #expect(!workshop.called("etcdutl", []).output.contains("hashkv"))
        #expect(workshop.util().output.contains("hashkv"))
    }

    @Test func `etcdctl restores and looks at snapshots too`() {
        let workshop = Workshop()
        workshop.place("store-3.5.1.snapshot", as: "s.db")
        let status = workshop.called("etcdctl", ["snapshot", "status", "s.db"])
        #expect(status.output == "a4c7f2ea, 12, 21, 25 kB\n")
        #expect(status.errors == "Deprecated: Use `etcdutl snapshot status` instead.\n\n")
        #expect(workshop.called("etcdctl", ["snapshot", "restore", "s.db"]).status == 0)
        #expect(workshop.util("hashkv", "default.etcd").output == "423053886, 12, 6\n")
    }
}
