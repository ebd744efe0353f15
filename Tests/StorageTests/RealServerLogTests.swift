// The log we write is etcd's: a real server starts from it.

import DiskLog
import FileFormats
import Foundations
import Glibc
import TestSupport
import Testing

@Suite struct RealServerLogTests {
    @Test(.enabled(if: RealTools.required(RealTools.etcd35), "needs etcd 3.5.1"))
    func `a real server goes on from a log that we continued, over several segments`() throws {
        let place = Workplace()
        let tools = try #require(RealTools.etcd35)
        for folder in ["data", "data/member", "data/member/snap", "data/member/wal"] { mkdir(place(folder), 0o700) }
        let mark = "0000000000000002-0000000000000016.snap"
        try write(try Recorded.file("3.5.1.\(mark)"), place("data/member/snap/\(mark)"))
        try write(try Recorded.file("3.5.1.db"), place("data/member/snap/db"))
        let wal = place("data/member/wal")
        try write(try Recorded.file("3.5.1.wal"), wal + "/0000000000000000-0000000000000000.wal")
        do {
            var options = LogOptions()
            options.segmentBytes = 20_000
            let (log, recovered, snapshot, broken) = try DiskLog.open(
                wal, newestOf: SnapDirectory(place("data/member/snap")), options)
            #expect(snapshot?.index == 22 && broken.isEmpty)
            var state = try #require(recovered.state)
            let first = (recovered.entries.last?.index ?? 22) + 1
            for i in 0..<200 {
                // InternalRaftRequest {1 ID, 4 put {1 key, 2 value}}
                let key = bytes("ours\(1000 + i)")
                let put: Bytes = [0x0a, UInt8(key.count)] + key + [0x12, 100] + Bytes(repeating: 0x61, count: 100)
                let request: Bytes = [0x08, UInt8(i % 100 + 1), 0x22, UInt8(put.count)] + put
                let index = first + LogIndex(i)
                log.append(term: state.term, index: index, kind: 0, data: request)
                if i % 3 == 0 { try log.sync() } else { log.syncInBackground(ticket: index) }
                state.commit = index
                log.set(state)
            }
            try log.sync()
            #expect(log.segmentCount > 1)
        }
        let ports = freePorts(2)
        let client = "http://127.0.0.1:\(ports[1])"
        let script = """
            \(tools)/etcd --name v1 --data-dir \(place("data")) --listen-peer-urls http://127.0.0.1:\(ports[0]) \
            --listen-client-urls \(client) --advertise-client-urls \(client) --log-level error >\(place("log")) 2>&1 &
            server=$!
            trap "kill -9 $server; cat \(place("log")) >&2" EXIT
            for i in $(seq 200); do
                \(tools)/etcdctl --endpoints \(client) get --prefix ours --keys-only 2>/dev/null >\(place("keys")) && break
                sleep 0.1
            done
            grep -c ours \(place("keys"))
            """
        let served = Child.run("/bin/bash", ["-c", script])
        #expect(served.output == "200\n", "\(served.output) \(served.errors.prefix(2000))")
    }
}
