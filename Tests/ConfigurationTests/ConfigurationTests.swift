// What a server makes of its command line, environment and file. Error texts were read from running 3.5.1.

import Flags
import Server
import Telemetry
import Testing

private func read(
    _ words: [String], _ environment: [String] = [], file: String? = nil
) -> ServerCommandLine.Outcome {
    ServerCommandLine.read(words, program: "etcd", environment: EnvironmentVariables(lines: environment)) { path in
        if let file { .success(Array(file.utf8)) } else { .failure(.init("no such file or directory")) }
    }
}

private func configuration(_ words: [String], _ environment: [String] = [], file: String? = nil) -> ServerConfiguration? {
    if case .start(let configuration, _, _) = read(words, environment, file: file) { configuration } else { nil }
}

/// The error of the last line.
private func refusal(_ outcome: ServerCommandLine.Outcome) -> String? {
    guard case .refused(let notices) = outcome else { return nil }
    return notices.first { $0.message == "failed to verify flags" }?.fields.first { $0.name == "error" }?.value.plain
}

private func notices(_ outcome: ServerCommandLine.Outcome) -> [ServerCommandLine.Notice] {
    switch outcome {
    case .refused(let notices), .start(_, _, let notices): notices
    default: []
    }
}

@Suite struct `Defaults` {
    @Test func `are those of the 3.5 level`() throws {
        let it = try #require(configuration([]))
        #expect(it.name == "default")
        #expect(it.dataDirectory == "default.etcd")
        #expect(it.snapshotCount == 100_000)
        #expect(it.heartbeatMilliseconds == 100 && it.electionMilliseconds == 1000 && it.electionTicks == 10)
        #expect(it.listenClientURLs.map(\.description) == ["http://localhost:2379"])
        #expect(it.initialCluster == "default=http://localhost:2380")
        #expect(it.quotaBytes == 2_147_483_648)
        #expect(it.requestBytesMax == 1_572_864 && it.transactionOperationsMax == 128)
        #expect(it.concurrentStreamsMax == .max)
        #expect(it.keepAlive.minimumInterval == 5_000_000_000)
        #expect(it.preVote && it.strictReconfigCheck && it.enableGateway)
        #expect(it.corsOrigins == ["*"] && it.hostWhitelist == ["*"])
        #expect(it.requestTimeout == 7_000_000_000)
        #expect(it.log.outputs == ["default"])
        #expect(it.gates["TxnModeWriteWithSharedBuffer"] && !it.gates["LeaseCheckpoint"])
        #expect(try it.retention() == 0)
        #expect(it.quotaBackendBytes == 0)
    }

    @Test func `a name alone names the data and the cluster`() throws {
        let it = try #require(configuration(["--name", "m1", "--initial-advertise-peer-urls", "http://10.0.0.1:2380"]))
        #expect(it.dataDirectory == "m1.etcd")
        #expect(it.initialCluster == "m1=http://10.0.0.1:2380")
    }

    @Test func `the machine's address replaces one that means all`() throws {
        guard case .start(var it, let values, _) = read(["--name", "m1", "--listen-peer-urls", "http://0.0.0.0:2390"])
        else {
            Issue.record("refused")
            return
        }
        let changed = it.adoptDefaultHost("192.0.2.7", values)
        #expect(changed)
        #expect(it.advertisePeerURLs.map(\.description) == ["http://192.0.2.7:2390"])
        #expect(it.initialCluster == "m1=http://192.0.2.7:2390")
        #expect(it.advertiseClientURLs.map(\.description) == ["http://localhost:2379"])
    }
}

@Suite struct Refusals {
    @Test(arguments: [
        (["extra"], "'extra' is not a valid flag"),
        (
            ["--listen-client-urls", "http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly"
        ),
        (
            ["--listen-client-urls=http://foo.com:29000", "--advertise-client-urls=http://127.0.0.1:1"],
            "expected IP in URL for binding (http://foo.com:29000)"
        ),
        (
            ["--initial-cluster", "a=http://127.0.0.1:1", "--discovery", "http://x"],
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\" or \"discovery-srv\""
        ),
        (["--heartbeat-interval", "0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (["--election-timeout", "0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            ["--election-timeout", "60000"],
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms"
        ),
        (
            ["--heartbeat-interval", "500"],
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]"
        ),
        (["--auto-compaction-mode", "bogus"], "unknown auto-compaction-mode \"bogus\""),
        (
            ["--initial-advertise-peer-urls", "http://:2380"],
            "--initial-advertise-peer-urls \"http://:2380\" must be \"host:port\" (unexpected empty host (http://:2380))"
        ),
        (
            ["--advertise-client-urls", "http://:2379"],
            "--advertise-client-urls \"http://:2379\" must be \"host:port\" (unexpected empty host (http://:2379))"
        ),
        (["--logger", "capnslog"], "--logger=capnslog is removed in v3.5"),
        (["--logger", "foo"], "unknown logger option \"foo\""),
        (["--log-outputs", "default,stderr"], "multi logoutput for \"default\" is not supported yet"),
        (
            ["--log-outputs", "systemd/journal,stderr"],
            "running with systemd/journal but other '--log-outputs' values ([\"stderr\" \"systemd/journal\"]) are configured "
                + "with 'default'; override 'default' value with something else"
        ),
        (
            ["--enable-log-rotation", "--log-outputs", "stderr"],
            "--log-outputs requires a single file path when --log-rotate-config-json is defined"
        ),
        (
            ["--tls-min-version", "TLS1.3", "--tls-max-version", "TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)"
        ),
        (["--tls-min-version", "TLS1.1"], "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"),
        (
            ["--tls-min-version", "TLS1.3", "--cipher-suites", "TLS_AES_128_GCM_SHA256"],
            "cipher suites cannot be configured when only TLS1.3 is enabled"
        ),
        (["--discovery-token", "x"], "both --discovery-token and --discovery-endpoints must be set"),
        (["--compact-hash-check-time", "0s"], "--compact-hash-check-time must be >0 (set to 0s)"),
        (
            ["--warning-apply-duration=1s", "--experimental-warning-apply-duration=1s"],
            "cannot set --experimental-warning-apply-duration and --warning-apply-duration at the same time, "
                + "please use --warning-apply-duration only"
        ),
        (
            ["--experimental-enable-lease-checkpoint-persist"],
            "setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint"
        ),
        (
            ["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"
        ),
        (["--config-file", "nosuch.yml"], "open nosuch.yml: no such file or directory"),
    ])
    func `are in etcd's words`(words: [String], message: String) {
        #expect(refusal(read(words)) == message)
    }

    @Test(arguments: [
        (["--bogus"], "flag provided but not defined: -bogus\n"),
        (["--initial-cluster-state=bogus"], "invalid value \"bogus\" for flag -initial-cluster-state: invalid value\n"),
        (["--v2-deprecation=zz"], "invalid value \"zz\" for flag -v2-deprecation: invalid value \"zz\"\n"),
        (
            ["--cors=http://x"],
            "invalid value \"http://x\" for flag -cors: URL address does not have the form \"host:port\": http://x\n"
        ),
        (
            ["--feature-gates=X=true"],
            "invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X\n"
        ),
        (
            ["--listen-client-urls=http://a:1,,http://b:2"],
            "invalid value \"http://a:1,,http://b:2\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: \n"
        ),
    ])
    func `of flags come with the usage`(words: [String], start: String) {
        guard case .usageError(let text) = read(words) else {
            Issue.record("accepted")
            return
        }
        #expect(text.hasPrefix(start + "Usage:\n\n  etcd [flags]\n"))
    }

    @Test(arguments: [
        (["--cipher-suites", "BOGUS"], "unexpected TLS cipher suite \"BOGUS\""),
        (["--auth-token", "bogus"], "auth: invalid auth options"),
        (["--auth-token", "jwt"], "auth: invalid auth options"),
        (["--auto-compaction-retention", "-1"], "error parsing CompactionRetention: time: missing unit in duration \"-1\""),
        (
            ["--enable-v2", "--v2-deprecation=write-only"],
            "--enable-v2 and --v2-deprecation=write-only are mutually exclusive"
        ),
        (["--auto-compaction-retention", "abc"], "error parsing CompactionRetention: time: invalid duration \"abc\""),
        (
            ["--listen-client-urls=https://127.0.0.1:29000", "--advertise-client-urls=https://127.0.0.1:29000"],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:29000 with HTTPS scheme"
        ),
        (
            ["--listen-client-http-urls=http://localhost:2379"],
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://localhost:2379"
        ),
    ])
    func `at start are in etcd's words`(words: [String], message: String) throws {
        let it = try #require(configuration(words))
        let failure = #expect(throws: ConfigurationError.self) { try it.verifyStart() }
        #expect(failure?.description == message)
    }

    @Test(arguments: [
        (
            ["--name=n1", "--initial-cluster=n2=http://127.0.0.1:2380"],
            "couldn't find local name \"n1\" in the initial cluster configuration"
        ),
        (
            ["--initial-cluster=foo"],
            "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: "
        ),
        (
            ["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
            "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url"
        ),
        (
            ["--initial-cluster=default=http://127.0.0.2:2380"],
            "--initial-cluster has default=http://127.0.0.2:2380 but missing from "
                + "--initial-advertise-peer-urls=http://localhost:2380 "
                + "(\"http://127.0.0.1:2380\"(resolved from \"http://localhost:2380\") != "
                + "\"http://127.0.0.2:2380\"(resolved from \"http://127.0.0.2:2380\"))"
        ),
        (
            ["--initial-cluster=default=http://127.0.0.2:2380,default=http://127.0.0.3:2380"],
            "--initial-cluster has default=http://127.0.0.2:2380,default=http://127.0.0.3:2380 but missing from "
                + "--initial-advertise-peer-urls=http://localhost:2380 "
                + "(len([\"http://localhost:2380\"]) != len([\"http://127.0.0.2:2380\" \"http://127.0.0.3:2380\"]))"
        ),
        (
            [
                "--initial-advertise-peer-urls=http://localhost:2380,http://127.0.0.3:2381",
                "--initial-cluster=default=http://localhost:2380",
            ],
            "--initial-advertise-peer-urls has http://127.0.0.3:2381 but missing from "
                + "--initial-cluster=default=http://127.0.0.3:2381,default=http://localhost:2380"
        ),
    ])
    func `at bootstrap are in etcd's words`(words: [String], message: String) throws {
        let it = try #require(configuration(words))
        let failure = #expect(throws: ConfigurationError.self) {
            try it.bootstrapCluster { $0.host == "localhost" ? ["127.0.0.1"] : nil }
        }
        #expect(failure?.description == message)
    }

    @Test func `certificates that would never be valid are not made`() throws {
        let side = try #require(configuration(["--auto-tls", "--self-signed-cert-validity=0"])).sideWithoutValidity
        #expect(side == "client")
        let peer = try #require(configuration(["--peer-auto-tls", "--self-signed-cert-validity=0"])).sideWithoutValidity
        #expect(peer == "peer")
        #expect(try #require(configuration(["--self-signed-cert-validity=0"])).sideWithoutValidity == nil)
    }

    @Test func `a name and its address are the same peer`() throws {
        let it = try #require(configuration(["--initial-cluster=default=http://127.0.0.1:2380"]))
        #expect(try it.bootstrapCluster { $0.host == "localhost" ? ["127.0.0.1"] : nil }.members.count == 1)
    }
}

@Suite struct Sources {
    @Test func `a variable counts when no flag speaks`() throws {
        let outcome = read(
            ["--name=a"],
            ["ETCD_HEARTBEAT_INTERVAL=200", "ETCD_ELECTION_TIMEOUT=2000", "COVEY_MAX_TXN_OPS=7", "ETCD_FOO=1"])
        guard case .start(let it, _, let notices) = outcome else {
            Issue.record("refused")
            return
        }
        #expect(it.heartbeatMilliseconds == 200 && it.transactionOperationsMax == 7)
        #expect(
            notices.map(\.message).filter { $0.contains("environment") } == [
                "recognized and used environment variable", "recognized and used environment variable",
                "recognized and used environment variable", "unrecognized environment variable",
            ])
    }

    @Test func `secrets in variables are not shown`() {
        let said = notices(read([], ["ETCD_DISCOVERY_PASSWORD=geheim"]))
        #expect(!"\(said)".contains("geheim"))
    }

    @Test func `flag and variable together end the start`() {
        let said = notices(read(["--name=a"], ["ETCD_NAME=a"]))
        #expect(said.last?.level == .fatal)
        #expect(said.last?.fields.first?.value == "ETCD_NAME")
    }

    @Test func `a bad variable is refused`() {
        #expect(
            refusal(read([], ["ETCD_HEARTBEAT_INTERVAL=abc"]))
                == "invalid value \"abc\" for ETCD_HEARTBEAT_INTERVAL: parse error")
    }

    @Test func `a file replaces flags and variables`() throws {
        let file = """
            name: f1
            data-dir: /var/x
            heartbeat-interval: 50
            backend-batch-interval: 1000000
            listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
            advertise-client-urls: http://127.0.0.1:1
            log-outputs: [stderr]
            cipher-suites:
              - TLS_AES_128_GCM_SHA256
            client-transport-security: {cert-file: c.pem, client-cert-auth: true}
            peer-transport-security:
              allowed-cn: [a, b]
            socket-options:
              reuse-port: true
            pre-vote: no
            """
        let it = try #require(configuration(["--config-file=x.yml", "--name=ignored"], ["ETCD_NAME=also"], file: file))
        #expect(it.name == "f1" && it.dataDirectory == "/var/x")
        #expect(it.heartbeatMilliseconds == 50 && it.batchInterval == 1_000_000)
        #expect(it.listenClientURLs.count == 2)
        #expect(it.clientTLS.certFile == "c.pem" && it.clientTLS.requiresClientCertificate)
        #expect(it.peerTLS.allowedCommonNames == ["a", "b"])
        #expect(it.reusePort && !it.preVote)
        #expect(it.cipherSuites == ["TLS_AES_128_GCM_SHA256"])
        #expect(configuration([], ["ETCD_CONFIG_FILE=x.yml"], file: "{\"name\": \"j\"}")?.name == "j")
    }

    @Test(arguments: [
        (
            "heartbeat-interval: abc",
            "cannot unmarshal string into Go struct field configYAML.heartbeat-interval of type uint"
        ),
        (
            "backend-batch-interval: 10m",
            "cannot unmarshal string into Go struct field configYAML.backend-batch-interval of type time.Duration"
        ),
        ("name: 5", "cannot unmarshal number into Go struct field configYAML.name of type string"),
        ("name: y", "cannot unmarshal bool into Go struct field configYAML.name of type string"),
        ("pre-vote: \"yes\"", "cannot unmarshal string into Go struct field configYAML.pre-vote of type bool"),
        ("- a", "cannot unmarshal array into Go value of type embed.configYAML"),
        (
            "cipher-suites: A,B",
            "cannot unmarshal string into Go struct field configYAML.cipher-suites of type []string"
        ),
        (
            "client-transport-security: 5",
            "cannot unmarshal number into Go struct field configYAML.client-transport-security of type embed.securityConfig"
        ),
        (
            "quota-backend-bytes: 1.5",
            "cannot unmarshal number 1.5 into Go struct field configYAML.quota-backend-bytes of type int64"
        ),
        ("max-snapshots: -1", "cannot unmarshal number -1 into Go struct field configYAML.max-snapshots of type uint"),
        (
            "client-transport-security: {cert-file: 5}",
            "cannot unmarshal number into Go struct field securityConfig.client-transport-security.cert-file of type string"
        ),
    ])
    func `a file's types are strict`(file: String, message: String) {
        #expect(
            refusal(read(["--config-file=x"], file: file)) == "error unmarshaling JSON: while decoding JSON: json: "
                + message)
    }

    @Test func `a file's URLs, state and syntax are refused as etcd does`() {
        guard case .plainError(let text) = read(["--config-file=x"], file: "listen-client-urls: foo") else {
            Issue.record("accepted")
            return
        }
        #expect(
            text
                == "unexpected error setting up listen-client-urls: URL scheme must be http, https, unix, or unixs: foo"
        )
        #expect(
            refusal(read(["--config-file=x"], file: "initial-cluster-state: zz")) == "unexpected clusterState \"zz\"")
        #expect(
            refusal(read(["--config-file=x"], file: "name: [a"))?.hasPrefix(
                "error converting YAML to JSON: yaml: line ") == true)
        #expect(
            notices(read(["--config-file=x"], file: "bogus: 1")).contains {
                $0.fields.contains { $0.value == .texts(["bogus (line 1)"]) }
            })
    }

    @Test func `a file of aliases cannot blow up`() {
        var file = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for i in 1..<9 {
            let alias = "*a\(i - 1)"
            file += "a\(i): &a\(i) [" + Array(repeating: alias, count: 10).joined(separator: ", ") + "]\n"
        }
        #expect(refusal(read(["--config-file=x"], file: file))?.contains("too large") == true)
    }
}

@Suite struct Remarks {
    @Test(arguments: [
        (["--enable-v2"], "flag is accepted but has no effect"),
        (["--experimental-warning-apply-duration=1s"], "flag has a newer spelling"),
        (["--experimental-initial-corrupt-check"], "flag is replaced by a feature gate"),
        (["--snapshot=1"], "flag is accepted but has no effect"),
        (["--max-request-bytes=20000000"], "exceeded recommended request limit"),
        (["--raft-read-timeout=1s"], "raft-read-timeout raised to the smallest safe value"),
        ([], "'data-dir' was empty; using default"),
    ])
    func `tell what a choice means`(words: [String], message: String) {
        #expect(notices(read(words)).contains { $0.message == message })
    }

    @Test func `older spellings count`() throws {
        let it = try #require(
            configuration(["--experimental-warning-apply-duration=7s", "--experimental-enable-lease-checkpoint"]))
        #expect(it.warningApplyDuration == 7_000_000_000)
        #expect(it.gates["LeaseCheckpoint"])
    }

    @Test func `every note and every older spelling belongs to a flag`() {
        let names = Set(ServerOptions.all.map(\.name))
        #expect(names.count == ServerOptions.all.count)
        for name in ServerOptions.notes.keys { #expect(names.contains(name)) }
        for (old, new) in ServerOptions.renamed { #expect(names.contains(old) && names.contains(new)) }
        for gate in FeatureGates.known { if let flag = gate.flag { #expect(names.contains(flag)) } }
    }

    @Test func `help shows groups and defaults, version four lines`() {
        guard case .print(let help) = read(["--help"]), case .print(let version) = read(["--version"]) else {
            Issue.record("no text")
            return
        }
        #expect(help.contains("\nMember:\n  --name 'default'\n    "))
        #expect(help.contains("  --data-dir '${name}.etcd'\n"))
        #expect(!help.contains("experimental"))
        #expect(version.hasPrefix("etcd Version: \(ProgramVersion.etcd)\nGit SHA: "))
        #expect(version.split(separator: "\n").count == 4)
    }
}
