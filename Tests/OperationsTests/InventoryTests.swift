// What an inventory may say, what it means when it says little, and what is told about one that is wrong.

import Foundations
import JSON
import TestSupport
import Testing

@testable import Inventory
@testable import Operations

/// The lines a person would see.
func complaints(_ yaml: String) -> [String] {
    do { return try InventoryFile.parse(Array(yaml.utf8), "c.yaml").warnings.map { $0.line(file: "c.yaml") } } catch {
        return error.lines
    }
}

func inventory(_ yaml: String) throws -> Inventory { try InventoryFile.parse(Array(yaml.utf8), "c.yaml").inventory }

let threeHosts = """
    metadata: {name: main}
    spec:
      hosts:
        kv1: 10.0.0.11
        kv2: 10.0.0.12
        kv3: 10.0.0.13

    """

/// The same with more below `spec`.
func threeHosts(_ more: String) -> String { threeHosts + "  " + more + "\n" }

@Suite struct InventoryTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var yaml: String
        var lines: [String]
        var testDescription: String { lines.first ?? "right" }

        init(_ yaml: String, _ lines: String...) {
            self.yaml = yaml
            self.lines = lines
        }
    }

    static let wrong: [Case] = [
        Case(
            "", "c.yaml:1:1: error: metadata: is missing; it must be a group with the keys generation, name",
            "c.yaml:1:1: error: spec: is missing; it must be a group with the keys backup, hooks, hosts, limits, log, maintenance, network, policy, server, storage, supervisor, tls, tuning"
        ),
        Case("a: [1\nb", "c.yaml:3:1: error: did not find expected ',' or ']'"),
        Case("- a", "c.yaml:1:1: error: a list is not a group with the keys apiVersion, kind, metadata, spec"),
        Case(
            "metadata: {name: main}\nspec: {hosts: {}}",
            "c.yaml:2:15: error: spec.hosts: has 0 keys; allowed: 1 to 64"),
        // Keys.
        Case(threeHosts("netwrok: {client: 1}"), "c.yaml:7:3: error: spec.netwrok: there is no such key; did you mean network?"),
        Case(threeHosts("network: {clients: 1}"), "c.yaml:7:13: error: spec.network.clients: there is no such key; did you mean client?"),
        Case(
            threeHosts("network: {zzz: 1}"),
            "c.yaml:7:13: error: spec.network.zzz: there is no such key; allowed: client, listen, metrics, peer, peerCIDRs"),
        Case(
            threeHosts("tls: {clientPassword: x}"),
            "c.yaml:7:9: error: spec.tls.clientPassword: there is no such key, and an inventory holds no secrets; allowed: clientCA, leaf, minVersion, peerCA"
        ),
        Case(
            threeHosts("network: {client: 1, client: 2}"),
            "c.yaml:7:24: error: spec.network.client: is given twice; the first is in line 7"),
        // Values.
        Case(
            threeHosts("network: {client: 70000}"),
            "c.yaml:7:21: error: spec.network.client: \"70000\" is not a number in range; allowed: 1 to 65535"),
        Case(
            threeHosts("network: {client: \"2379\"}"),
            "c.yaml:7:21: error: spec.network.client: \"2379\" is not a number in range; allowed: 1 to 65535"),
        Case(
            threeHosts("network: {client: [1]}"),
            "c.yaml:7:21: error: spec.network.client: a list is not a value; allowed: 1 to 65535"),
        Case(
            threeHosts("storage: {quota: 8Gib}"),
            "c.yaml:7:20: error: spec.storage.quota: \"8Gib\" is not a size in range, such as 8GiB; allowed: 16MiB to 1TiB"),
        Case(
            threeHosts("storage: {quota: 1MiB}"),
            "c.yaml:7:20: error: spec.storage.quota: \"1MiB\" is not a size in range, such as 8GiB; allowed: 16MiB to 1TiB"),
        Case(
            threeHosts("tuning: {heartbeat: 100}"),
            "c.yaml:7:23: error: spec.tuning.heartbeat: \"100\" is not a duration in range, such as 100ms, 1h or 30d; allowed: 10ms to 5s"),
        Case(
            threeHosts("tuning: {preVote: maybe}"),
            "c.yaml:7:21: error: spec.tuning.preVote: \"maybe\" is not true or false; allowed: true or false"),
        Case(
            threeHosts("tls: {leaf: {renewAt: 2}}"),
            "c.yaml:7:25: error: spec.tls.leaf.renewAt: \"2\" is not a fraction in range; allowed: 0.1 to 0.9"),
        Case(
            threeHosts("tls: {minVersion: TLS1.1}"),
            "c.yaml:7:21: error: spec.tls.minVersion: \"TLS1.1\" is not one of the words; allowed: one of: TLS1.2, TLS1.3"),
        Case(
            threeHosts("storage: {dataDir: /a/../b}"),
            "c.yaml:7:22: error: spec.storage.dataDir: \"/a/../b\" is not a path; allowed: an absolute path below /, without . and .. parts"
        ),
        Case(
            threeHosts("server: {version: AGE-SECRET-KEY-1QQ}"),
            "c.yaml:7:21: error: spec.server.version: holds what looks like a secret; an inventory holds no secrets, it is meant to be shared"
        ),
        // Hosts.
        Case(
            "metadata: {name: Main}\nspec: {hosts: {kv1: 10.0.0.1}}",
            "c.yaml:1:18: error: metadata.name: \"Main\" is not a name; allowed: lower-case letters, digits and dashes, a letter first, at most 40 characters"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: 10.0.0.300}}",
            "c.yaml:2:21: error: spec.hosts.kv1.address: \"10.0.0.300\" is not an address; allowed: an IP address or a DNS name, without a port"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: 'kv1:2379'}}",
            "c.yaml:2:21: error: spec.hosts.kv1.address: \"kv1:2379\" is not an address; allowed: an IP address or a DNS name, without a port"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: {zone: a}}}",
            "c.yaml:2:21: error: spec.hosts.kv1.address: is missing; it must be an IP address or a DNS name, without a port"),
        Case(
            "metadata: {name: main}\nspec:\n  hosts:\n    kv1: 10.0.0.1\n    kv1: 10.0.0.2\n",
            "c.yaml:5:5: error: spec.hosts.kv1: is given twice; the first is in line 4"),
        Case(
            "metadata: {name: main}\nspec:\n  hosts:\n    kv1: 10.0.0.1\n    kv2: 10.0.0.2\n    kv3: 10.0.0.1\n",
            "c.yaml:6:10: error: spec.hosts.kv3.address: 10.0.0.1 is the address of kv1 too; each host has its own",
            "c.yaml:6:10: error: spec.hosts.kv3.client: port 2379 on 10.0.0.1 is client of kv1 too; give each its own: client, peer and metrics of a host, and of hosts that share an address",
            "c.yaml:6:10: error: spec.hosts.kv3.peer: port 2380 on 10.0.0.1 is peer of kv1 too; give each its own: client, peer and metrics of a host, and of hosts that share an address",
            "c.yaml:6:10: error: spec.hosts.kv3.metrics: port 2381 on 10.0.0.1 is metrics of kv1 too; give each its own: client, peer and metrics of a host, and of hosts that share an address"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: {address: 10.0.0.1, peer: 2379}}}",
            "c.yaml:2:47: error: spec.hosts.kv1.peer: port 2379 on 10.0.0.1 is client of kv1 too; give each its own: client, peer and metrics of a host, and of hosts that share an address"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: 0.0.0.0}}",
            "c.yaml:2:21: error: spec.hosts.kv1.address: 0.0.0.0 is no address others can reach; give the host's own; see spec.network.listen"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: 127.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}}",
            "c.yaml:2:21: error: spec.hosts.kv1.address: 127.0.0.1 cannot be reached from other hosts; for a cluster on one machine set spec.supervisor: processes"
        ),
        // Numbers of voters.
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2}}",
            "c.yaml:2:15: error: spec.hosts: 2 voters tolerate 0 failures, as 1 do; use an odd number, make one a spare, or accept it with spec.policy.evenVoters: true"
        ),
        Case(
            "metadata: {name: main}\nspec: {hosts: {kv1: {address: 10.0.0.1, role: spare}}}",
            "c.yaml:2:15: error: spec.hosts: no host has the role voter; give one, three or five hosts that role"),
        // What must fit together.
        Case(
            threeHosts("tuning: {heartbeat: 300ms}"),
            "c.yaml:7:11: error: spec.tuning.election: 1s is less than five heartbeats of 300ms; at least 1.5s"),
        Case(
            threeHosts("tuning: {autoCompaction: {mode: periodic, retention: 1000}}"),
            "c.yaml:7:56: error: spec.tuning.autoCompaction.retention: is no duration, which mode periodic needs; for example 1h"),
        Case(
            threeHosts("tuning: {autoCompaction: {mode: revision}}"),
            "c.yaml:7:28: error: spec.tuning.autoCompaction.retention: is no number of revisions, which mode revision needs; for example 10000"
        ),
        Case(
            threeHosts("tls: {leaf: {lifetime: 90d}, clientCA: {lifetime: 100d}}"),
            "c.yaml:7:53: error: spec.tls.clientCA.lifetime: 100d is less than two lives of a certificate; at least 180d"),
        Case(
            threeHosts("tls: {leaf: {extraSANs: {kv9: [a.b]}}}"),
            "c.yaml:7:33: error: spec.tls.leaf.extraSANs.kv9: there is no host kv9; hosts: kv1, kv2, kv3"),
        Case(
            "metadata: {name: main}\nspec: {supervisor: processes, hosts: {m1: 127.0.0.1}, storage: {dataDir: /x}}",
            "c.yaml:2:74: error: spec.storage.dataDir: does not go with supervisor processes; leave it out: `covey up --state-dir` says where"
        ),
        Case(
            threeHosts("server: {artifact: {file: /x, keys: {release: 'ed25519:AAAA'}}}"),
            "c.yaml:7:49: error: spec.server.artifact.keys.release: \"ed25519:AAAA\" is not a key; allowed: ed25519: and 32 bytes in base64, as `covey artifact key` prints it"
        ),
        Case(
            "metadata: {name: versions}\nspec: {hosts: {kv1: 10.0.0.1}}",
            "c.yaml:1:18: error: metadata.name: versions is the name of a folder beside the clusters' data; choose another name"),
        // Warnings: the inventory is good.
        Case(
            threeHosts("server: {artifact: {signer: release}}"),
            "c.yaml:7:31: warning: spec.server.artifact.signer: has no effect without file: hosts run what root has installed there; give spec.server.artifact.file, or leave it out"
        ),
        Case(
            threeHosts("server: {artifact: {file: /x, allowUnsigned: true}}"),
            "c.yaml:7:48: warning: spec.server.artifact.allowUnsigned: lets programs run that nobody has signed; sign them: covey artifact sign PROGRAM --key KEY"
        ),
        Case(
            threeHosts("server: {engine: etcd, version: 3.5.1}"),
            "c.yaml:7:35: warning: spec.server.version: has no effect: with engine etcd and no file, hosts run what is installed there; give spec.server.artifact.file, or leave it out"
        ),
        Case(
            "metadata: {name: main}\nspec:\n  hosts:\n    kv1: {address: 10.0.0.1, zone: a}\n    kv2: {address: 10.0.0.2, zone: a}\n    kv3: {address: 10.0.0.3, zone: b}\n",
            "c.yaml:4:5: warning: spec.hosts: zone a has 2 of 3 voters: the cluster stops with it; spread voters so that no zone has more than 1"
        ),
        Case(
            threeHosts("storage: {quota: 16GiB}"),
            "c.yaml:7:20: warning: spec.storage.quota: 16GiB is more than 8GiB: a member that joins or is restored is away for long; split what is stored, or accept it"
        ),
        Case(
            threeHosts("backup: {schedule: hourly}"),
            "c.yaml:7:22: warning: spec.backup.schedule: is kept, but nothing in this version acts on it"),
    ]

    @Test(arguments: wrong) func `what is wrong is told with its place and what is right`(_ example: Case) {
        #expect(complaints(example.yaml) == example.lines)
    }

    @Test func `all problems are told at once, in the order of the lines`() {
        let lines = complaints("apiVersion: covey/v2\nmetadata: {nam: x}\nspec: {netwrok: {}}\n")
        #expect(lines.map { $0.split(separator: ":")[1] } == ["1", "2", "2", "3", "3"])
    }

    @Test func `a name and three addresses are an inventory`() throws {
        let smallest = try inventory(threeHosts)
        #expect(smallest.voters.map(\.name) == ["kv1", "kv2", "kv3"])
        #expect(smallest.voters.map(\.clientURL).first == "https://10.0.0.11:2379")
        #expect(smallest.supervisor == .systemd && smallest.dataDirectory == "/var/lib/covey/main")
        #expect(smallest.quotaBytes == 8 << 30 && smallest.quorum == 2 && smallest.tolerance == 1)
        #expect(smallest.compaction == .periodic(3_600_000_000_000) && smallest.preVote)
        #expect(complaints(threeHosts) == [])
    }

    @Test func `every default of the schema is a value its key takes`() throws {
        // A default that is refused would be told as an error of a file that does not mention it.
        let everything = try inventory("metadata: {name: main}\nspec: {hosts: {kv1: 'fd00::1'}}")
        #expect(everything.hosts[0].peerURL == "https://[fd00::1]:2380")
        #expect(JSONSchema.text.contains("\"default\": \"8GiB\""))
    }

    @Test func `what means the same has the same digest`() throws {
        let first = try inventory(threeHosts)
        let other = try inventory(
            """
            # Other order, spelt-out defaults, other notation.
            kind: Cluster
            spec:
              network: {peer: 2380}
              storage: {quota: 8192MiB}
              tuning: {election: 1000ms}
              hosts:
                kv3: {address: 10.0.0.13, role: voter}
                kv1: {address: "10.0.0.11"}
                kv2: 10.0.0.12
            metadata: {generation: 7, name: main}
            """)
        #expect(first.digest == other.digest)
        #expect(other.generation == 7)
        #expect(try inventory(threeHosts("storage: {quota: 4GiB}")).digest != first.digest)
    }

    @Test(arguments: ["three-node", "three-node-converging", "five-node-zones", "local"]) func `the examples are right, without a warning`(
        _ name: String
    ) throws {
        let file = try InventoryFile.read(RealTools.root + "/Inventory/\(name).yaml")
        #expect(file.warnings == [])
    }

    @Test func `what init prints is right`() throws {
        #expect(try inventory(FirstInventory.text(name: "main", addresses: [])).voters.count == 3)
        let hosts = try inventory(FirstInventory.text(name: "prod", addresses: ["10.0.0.1", "kv.example.com", "fd00::1"])).hosts
        #expect(hosts.map(\.clientURL) == ["https://10.0.0.1:2379", "https://kv.example.com:2379", "https://[fd00::1]:2379"])
        #expect(complaints(FirstInventory.text(name: "prod", addresses: ["a: b", "x", "y"])).first?.contains("is not an address") == true)
    }

    @Test func `the published schema is the one that validates`() throws {
        try golden(RealTools.root + "/Inventory/schema.json", JSONSchema.text)
        _ = try JSONValue(parsing: JSONSchema.text)
    }
}

@Suite struct NotationTests {
    @Test(
        arguments: [
            ("8GiB", 8 << 30), ("1 KiB", 1024), ("0", 0), ("17", 17), ("1kB", 1000), ("2TB", 2_000_000_000_000), ("3B", 3),
        ] as [(String, Int64)])
    func `sizes`(_ text: String, _ bytes: Int64) { #expect(SizeText.parse(text) == bytes) }

    @Test(arguments: ["", "B", "-1", "1.5GiB", "1 GiB GiB", "GiB", "9999999999TiB", "1g", " 1"]) func `no sizes`(_ text: String) {
        #expect(SizeText.parse(text) == nil)
    }

    @Test(
        arguments: [
            ("30d", 30 * 86_400), ("1y", 365 * 86_400), ("1w2d", 9 * 86_400), ("1d12h", 129_600), ("1h30m", 5_400), ("0s", 0), ("90s", 90),
        ] as [(String, Int64)])
    func `durations`(_ text: String, _ seconds: Int64) { #expect(DurationText.parse(text) == seconds * 1_000_000_000) }

    @Test(arguments: ["", "5", "d", "-1h", "1h-", "1x", "9999999y", "1.5d", "h"]) func `no durations`(_ text: String) {
        #expect(DurationText.parse(text) == nil)
    }

    @Test(arguments: ["30d", "1y", "100ms", "1h", "1h30m", "1500ms", "36h"]) func `a duration that is written reads the same`(
        _ text: String
    ) {
        let value = DurationText.parse(text)
        #expect(DurationText.parse(DurationText.format(value ?? -1)) == value)
    }

    @Test(arguments: [
        ("10.0.0.1", true), ("::1", true), ("fe80::1", true), ("2001:db8:0:1:2:3:4:5", true), ("::ffff:10.0.0.1", true),
        ("1.2.3", false), ("1.2.3.256", false), ("01.2.3.4", false), (":::", false), ("1::2::3", false), ("1:2:3", false), ("g::1", false),
        ("12345::", false), ("", false),
    ])
    func `addresses`(_ text: String, _ isAddress: Bool) { #expect(AddressText.isIP(text) == isAddress) }
}

@Suite struct ExplanationTests {
    private func explained(_ key: String, _ more: String = "") throws -> String {
        try Explanation.of(key, in: inventory(more.isEmpty ? threeHosts : threeHosts(more)), file: "c.yaml").text
    }

    @Test func `a setting says what it does and who set it`() throws {
        #expect(
            try explained("network.client", "network: {client: 4001}") == """
                spec.network.client = 4001
                  does     Port for clients.
                  allowed  1 to 65535
                  default  2379
                  set by   c.yaml:7:21
                  becomes  --listen-client-urls, --advertise-client-urls

                """)
        #expect(try explained("quota").contains("spec.storage.quota = 8GiB\n"))
        #expect(try explained("quota").contains("set by   default\n"))
    }

    @Test func `a host's port follows the network's`() throws {
        let text = try explained("kv2.client", "network: {client: 4001}")
        #expect(text.hasPrefix("spec.hosts.kv2.client = 4001\n"))
        #expect(text.contains("set by   spec.network.client, which is set by c.yaml:7:21\n"))
    }

    @Test func `a key that is not there, or could be several`() throws {
        #expect(throws: Explanation.Failure.unknown(key: "quoto", near: ["spec.storage.quota"])) { try explained("quoto") }
        #expect(
            throws: Explanation.Failure.ambiguous(
                key: "lifetime", paths: ["spec.tls.peerCA.lifetime", "spec.tls.clientCA.lifetime", "spec.tls.leaf.lifetime"])
        ) {
            try explained("lifetime")
        }
    }
}
