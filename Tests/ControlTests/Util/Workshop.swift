// A folder of a test's own, the program under its names, and other people's tools in it.

import Foundations
import Glibc
import TestSupport

/// Removed when it goes away.
final class Workshop {
    let folder: String
    private let covey: String

    struct Run {
        var status: Int32
        var output: String
        var errors: String
    }

    init() {
        folder = temporaryFolder("util")
        covey = RealTools.covey
        for name in ["etcdutl", "etcdctl", "etcd"] { symlink(covey, folder + "/" + name) }
    }

    deinit { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }

    /// `covey util ...`, in the folder.
    func util(_ words: String...) -> Run { run(covey, ["util"] + words) }

    /// Called by one of the names.
    func called(_ name: String, _ words: [String]) -> Run { run("./" + name, words) }

    func run(_ program: String, _ words: [String]) -> Run {
        let script = "cd \(folder) && \"$@\" 2>.errors"
        let result = Subprocess.run("/bin/sh", ["-c", script, "sh", program] + words, environment: ["ETCDCTL_API": "3"])
        return Run(status: result.status, output: result.output, errors: String(decoding: read(".errors"), as: UTF8.self))
    }

    @discardableResult
    func shell(_ script: String) -> String {
        let result = Subprocess.run("/bin/sh", ["-c", "cd \(folder) && " + script])
        if result.status != 0 { fatalError("\(script): \(result.status)\n\(result.output)") }
        return result.output
    }

    /// The server of this checkout with a directory made here, or a real etcd with one.
    func server(_ program: String? = nil, on directory: String, like other: EtcdProcess, _ more: [String] = []) -> EtcdProcess {
        let process = EtcdProcess(
            program ?? folder + "/etcd", name: other.name, ports: (other.clientPort, other.peerPort), more)
        shell("mv \(directory) \(process.folder)/data")
        return process
    }

    // MARK: files

    func place(_ recorded: String, as name: String) {
        let own = Recorded.folder + "/Data/util/" + recorded
        let formats = RealTools.root + "/Tests/FileFormatsTests/Data/" + recorded
        shell("cp \(access(own, R_OK) == 0 ? own : formats) \(name) && chmod u+w \(name)")
    }

    /// A recorded data directory.
    func unpack(_ version: String, as name: String) {
        shell("mkdir \(name) && tar xf \(Recorded.folder)/Data/util/datadir-\(version).tar -C \(name)")
    }

    func read(_ name: String) -> Bytes {
        guard let file = fopen(folder + "/" + name, "r") else { return [] }
        defer { fclose(file) }
        var bytes: Bytes = []
        var chunk = Bytes(repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { return bytes }
            bytes += chunk[..<count]
        }
    }

    func write(_ name: String, _ bytes: Bytes) {
        guard let file = fopen(folder + "/" + name, "w") else { fatalError("cannot write \(name)") }
        defer { fclose(file) }
        if !bytes.isEmpty { fwrite(bytes, 1, bytes.count, file) }
    }

    func change(_ name: String, _ body: (inout Bytes) -> Void) {
        var bytes = read(name)
        body(&bytes)
        write(name, bytes)
    }

    func exists(_ name: String) -> Bool { access(folder + "/" + name, F_OK) == 0 }

    /// Names and digests of all files below, to see that nothing changed.
    func fingerprint(_ name: String) -> String { shell("find \(name) | sort; find \(name) -type f | sort | xargs sha256sum") }
}

/// etcdctl 3.5.1 on a server.
struct RealControl {
    let endpoint: String

    func callAsFunction(_ words: String...) -> String {
        guard let folder = RealTools.etcd35 else { fatalError("run: make deps") }
        let result = Subprocess.run(folder + "/etcdctl", ["--endpoints=\(endpoint)"] + words, environment: ["ETCDCTL_API": "3"])
        return result.status == 0 ? result.output : "failed: \(result.output)"
    }

    /// `127.0.0.1:1234, 42` -> 42
    var hashKV: String {
        let answer = self("endpoint", "hashkv")
        return answer.split(separator: " ").last.map { $0.filter { $0 != "\n" } } ?? ""
    }
}
