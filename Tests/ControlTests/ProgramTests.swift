// The program as people call it: help, and the recorded invocations against a real etcd.

import Foundations
import Glibc
import JSON
import TestSupport
import Testing

private enum Built {
    /// A link named etcdctl to the program of this checkout, in a folder of its own.
    static let etcdctl: String = {
        let link = temporaryFolder("ctl") + "/etcdctl"
        guard symlink(RealTools.covey, link) == 0 else { fatalError("symlink: errno \(errno)") }
        return link
    }()
}

@Suite struct `The program called etcdctl` {
    @Test func `helps in etcdctl's words`() {
        for line in Recorded.lines("help-3.5.1.jsonl") {
            let command = line["command"]!.array!.map { $0.string! }
            let expected = line["stdout"]!.string!
            let help = Subprocess.run(Built.etcdctl, command + ["--help"])
            #expect(help.status == 0)
            #expect(withoutVersion(help.output) == withoutVersion(expected), "\(command)")
        }
    }

    /// The one line that names the release.
    private func withoutVersion(_ text: String) -> [Substring] {
        text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.hasPrefix("\t3.5.") }
    }

    @Test(
        arguments: [
            (
                ["bogus"], 1,
                "Error: unknown command \"bogus\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\nError: unknown command \"bogus\" for \"etcdctl\"\n"
            ),
            (["get"], 128, "Error: get command needs one argument as key and an optional argument as range_end\n"),
            (["get", "a", "-w", "bogus"], 4, "Error: unsupported output format\n"),
            (["get", "a", "--cert=x"], 128, "Error: KeyFile and CertFile must both be present[key: , cert: x]\n"),
            (["get", "a", "--cacert=/nonexistent"], 128, "Error: open /nonexistent: no such file or directory\n"),
            (["get", "a", "--endpoints="], 2, "Error: etcdclient: no available endpoints\n"),
            (["completion", "tcsh"], 128, "Error: no completion for the shell \"tcsh\", only for bash, zsh, fish\n"),
        ] as [([String], Int32, String)])
    func `fails as etcdctl does`(words: [String], status: Int32, output: String) {
        let run = Subprocess.run(Built.etcdctl, words)
        #expect(run.status == status)
        #expect(run.output == output)
    }

    @Test func `says why an endpoint cannot be reached`() {
        let words = ["--endpoints=127.0.0.1:1", "--command-timeout=300ms", "get", "a"]
        let compared = Subprocess.run(Built.etcdctl, words)
        #expect(compared.status == 1)
        #expect(compared.output.hasPrefix("Error: context deadline exceeded\n{\"level\":\"warn\""))
        let ours = Subprocess.run(RealTools.covey, ["ctl"] + words)
        #expect(ours.output.hasSuffix("dial tcp 127.0.0.1:1: connect: connection refused\"\n"))
    }

    @Test func `refuses a variable beside the flag it stands for`() {
        let run = Subprocess.run(
            Built.etcdctl, ["--endpoints=127.0.0.1:1", "get", "a"], environment: ["ETCDCTL_ENDPOINTS": "127.0.0.1:2"])
        #expect(run.status == 1)
        #expect(run.output.contains("conflicting environment variable is shadowed by corresponding command-line flag"))
    }

    @Test(
        .enabled(if: RealTools.required(RealTools.etcd35) && RealTools.required(RealTools.python)),
        arguments: ["single-node-3.5.1.jsonl", "cluster3-3.5.1.jsonl"])
    func `answers every recorded invocation as etcdctl did`(recordings: String) throws {
        let run = Subprocess.run(
            try #require(RealTools.python),
            [
                "\(Recorded.folder)/Replay/replay.py", "--etcd", "\(RealTools.etcd35 ?? "")/etcd", "--ctl", RealTools.covey,
                "--recordings", "\(Recorded.folder)/Data/\(recordings)",
            ])
        #expect(run.status == 0, "\(run.output)")
    }

    @Test(
        .enabled(if: RealTools.required(RealTools.etcd35) && RealTools.required(RealTools.python)),
        arguments: ["single-node-3.5.1.jsonl", "cluster3-3.5.1.jsonl"])
    func `the real etcdctl says of our servers what it said of real ones`(recordings: String) throws {
        let run = Subprocess.run(
            try #require(RealTools.python),
            [
                "\(Recorded.folder)/Replay/replay.py", "--etcd", "\(RealTools.covey) server",
                "--ctl", "\(RealTools.etcd35 ?? "")/etcdctl", "--recordings", "\(Recorded.folder)/Data/\(recordings)",
            ])
        #expect(run.status == 0, "\(run.output)")
    }

    @Test(.enabled(if: RealTools.required(RealTools.etcd35)))
    func `leaves nothing when a snapshot finds no room, and gets many keys in pages`() async throws {
        let server = await EtcdProcess("\(try #require(RealTools.etcd35))/etcd").start()
        let value = String(repeating: "v", count: 700)
        // 1,500 keys: more than one page.
        for part in 0..<15 {
            let puts = (0..<100).map { "put key/\(10_000 + part * 100 + $0) \(value)" }.joined(separator: "\n")
            let run = Subprocess.run(
                "/bin/sh", ["-c", "printf '\n%s\n\n\n' '\(puts)' | \(RealTools.covey) ctl --endpoints \(server.endpoint) txn"])
            #expect(run.status == 0, "\(run.output)")
        }
        let got = Subprocess.run(
            RealTools.covey, ["ctl", "--endpoints", server.endpoint, "get", "--prefix", "key/", "--print-value-only"])
        #expect(got.output.split(separator: "\n").count == 1_500)

        let target = temporaryFolder("room") + "/s.db"
        // A file may become 64 KiB large, and the signal that says so is off: the write fails, as on a full disk.
        let save = "trap '' XFSZ; ulimit -f 64; \(RealTools.covey) ctl --endpoints \(server.endpoint) snapshot save \(target)"
        let saved = Subprocess.run("/bin/bash", ["-c", save])
        #expect(saved.status == 5)
        #expect(saved.output.contains("there is no room for the file"), "\(saved.output)")
        let left = Subprocess.run("/bin/sh", ["-c", "ls \(target)*"])
        #expect(left.status != 0, "\(left.output)")
    }
}
