// What inventories become: configuration files, drop-ins, units.

import Flags
import Foundations
import Inventory
import Server
import Telemetry
import TestSupport
import Testing

@testable import Operations
@testable import Rendering

@Suite struct RenderingTests {
    private static let data = RealTools.root + "/Tests/OperationsTests/Data"

    private func example(_ name: String) throws -> Inventory {
        try InventoryFile.read(RealTools.root + "/Inventory/\(name).yaml").inventory
    }

    private func identity(_ inventory: Inventory) -> MemberIdentity {
        var identity = MemberIdentity.existing(inventory)
        identity.state = .new
        identity.token = "token-1"
        return identity
    }

    @Test(arguments: ["three-node", "five-node-zones"]) func `the files of a host are as recorded`(_ name: String) throws {
        let inventory = try example(name)
        for file in HostFiles.all(inventory, inventory.hosts[0], identity(inventory)) {
            let last = file.path.split(separator: "/").last!
            try golden("\(Self.data)/\(name)/\(last)", file.text)
        }
    }

    @Test(arguments: ["covey", "etcd"]) func `a unit starts what the link of the version slot says`(_ engine: String) throws {
        let text = "metadata: {name: main}\nspec: {server: {engine: \(engine)}, hosts: {kv1: 10.0.0.1}}\n"
        let inventory = try InventoryFile.parse(Array(text.utf8), "test").inventory
        let lines = HostFiles.dropIn(inventory, program: "/etc/covey/main/program").text.split(separator: "\n")
        let wanted = engine == "covey" ? "program server --config-file" : "program --config-file"
        let start = "ExecStart=/etc/covey/main/\(wanted)=/etc/covey/%i/server.yaml"
        #expect(lines.filter { $0.hasPrefix("ExecStart=") } == ["ExecStart=", start[...]])
        let without = HostFiles.dropIn(inventory, program: nil).text
        #expect(without.contains("ExecStart") == (engine == "etcd"))
    }

    @Test func `the words of a local member are as recorded`() throws {
        let inventory = try example("local")
        let folders = MemberFolders(data: "/s/local/members/m1/data", tls: "/s/local/members/m1/tls")
        let words = ServerSettings(inventory, inventory.hosts[0], identity(inventory), folders).commandLine
        try golden("\(Self.data)/local/m1.words", words.joined(separator: "\n") + "\n")
    }

    /// What the server makes of the words or the file.
    private func configuration(_ words: [String], file: String = "") throws -> ServerConfiguration {
        let outcome = ServerCommandLine.read(words, program: "covey server", environment: EnvironmentVariables([])) { _ in
            .success(Array(file.utf8))
        }
        guard case .start(let configuration, _, let notices) = outcome else {
            Issue.record("refused: \(outcome)")
            throw CancellationError()
        }
        // Nothing that is rendered is outdated or without effect here.
        #expect(notices.filter { $0.level != .info }.map { "\($0.message) \($0.fields)" } == [])
        return configuration
    }

    @Test(arguments: ["three-node", "five-node-zones"]) func `the server reads the file as it reads the words`(_ name: String) throws {
        let inventory = try example(name)
        for host in inventory.voters {
            let settings = ServerSettings(inventory, host, identity(inventory), HostFiles.folders(inventory))
            let fromWords = try configuration(settings.commandLine)
            let fromFile = try configuration(["--config-file=/c"], file: settings.configurationFile)
            #expect("\(fromFile)" == "\(fromWords)")
            #expect(fromFile.name == host.name)
            #expect(fromFile.clientTLS.requiresClientCertificate && fromFile.peerTLS.requiresClientCertificate)
            #expect(fromFile.initialClusterToken == "token-1")
        }
    }

    private func upstream(_ more: String = "") throws -> InventoryFile {
        let text =
            "metadata: {name: main}\nspec:\n  server: {engine: etcd}\n  hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}\n" + more
        return try InventoryFile.parse(Array(text.utf8), "c.yaml")
    }

    @Test(
        .enabled(if: RealTools.required(RealTools.etcd35) && RealTools.required(RealTools.etcd34Server)),
        arguments: ["3.5", "3.4"])
    func `upstream knows every flag that is rendered for it`(_ version: String) throws {
        let program = try #require(version == "3.5" ? RealTools.etcd35.map { $0 + "/etcd" } : RealTools.etcd34Server)
        let inventory = try upstream("  tuning: {corruptionCheck: 1h}\n  storage: {walDir: /srv/wal}\n").inventory
        let settings = ServerSettings(inventory, inventory.hosts[0], identity(inventory), HostFiles.folders(inventory))
        // It reads all words before it tells its version.
        let read = Subprocess.run(program, settings.commandLine + ["--version"])
        #expect(read.status == 0 && read.output.hasPrefix("etcd Version: \(version)"), "\(read.output)")
        #expect(Subprocess.run(program, ["--log-format=json", "--version"]).status != 0)
        #expect(settings.entries.count > 25)
    }

    @Test func `the unit runs upstream's program, and nothing waits for its watchdog`() throws {
        let inventory = try upstream().inventory
        let files = HostFiles.all(inventory, inventory.hosts[0], identity(inventory))
        let dropIn = try #require(files.first { $0.path.hasSuffix(".conf") }?.text)
        #expect(
            dropIn.contains(
                "\nExecStart=\nExecStart=/usr/bin/etcd --config-file=/etc/covey/%i/server.yaml\nWatchdogSec=0\n"), "\(dropIn)")
        let bundled = try example("three-node")
        #expect(!HostFiles.all(bundled, bundled.hosts[0], identity(bundled)).contains { $0.text.contains("ExecStart") })
    }

    @Test func `what upstream lacks is said`() throws {
        let warnings = try upstream("  tls: {minVersion: TLS1.3}\n  log: {format: console}\n").warnings.map { $0.line(file: "c.yaml") }
        #expect(warnings.count == 2 && warnings.allSatisfy { $0.contains("has no effect: etcd 3.4 and 3.5") }, "\(warnings)")
        #expect(try upstream().warnings.isEmpty)
    }

    @Test func `without a token nothing that is rendered makes a cluster`() throws {
        let inventory = try example("three-node")
        let settings = ServerSettings(inventory, inventory.hosts[0], .existing(inventory), HostFiles.folders(inventory))
        #expect(settings.configurationFile.contains("initial-cluster-state: \"existing\"\n"))
        #expect(!settings.configurationFile.contains("token"))
    }

    @Test func `values that would break a line of YAML are quoted`() throws {
        var settings = try ServerSettings(
            example("local"), example("local").hosts[0], .existing(example("local")), MemberFolders(data: "/a \"b\\c: #d", tls: "/t"))
        settings.entries.removeAll { $0.flag != "data-dir" && $0.flag != "name" }
        #expect(settings.configurationFile == "name: \"m1\"\ndata-dir: \"/a \\\"b\\\\c: #d\"\n")
    }

    @Test func `the units of the source tree are the rendered ones`() throws {
        for unit in UnitFiles.all { try golden(RealTools.root + "/Units/" + unit.path, unit.text) }
        try golden(RealTools.root + "/Units/catalog/covey.catalog", JournalMessage.catalog)
    }

    @Test(
        .enabled(if: RealTools.required(systemdAnalyze)),
        arguments: ["covey-server@.service", "covey-agent.service", "covey-health@.service"])
    func `systemd finds little to complain of in a unit`(_ name: String) throws {
        // The agent is root with three capabilities: it starts units and gives files away.
        let most = name == "covey-agent.service" ? 25 : 15
        let result = Subprocess.run(
            try #require(systemdAnalyze),
            ["security", "--offline=true", "--threshold=\(most)", "--no-pager", RealTools.root + "/Units/systemd/" + name])
        #expect(result.status == 0, "exposure above a tenth of \(most):\n\(result.output)")
    }
}

private let systemdAnalyze: String? =
    Subprocess.run("/usr/bin/systemd-analyze", ["--version"]).status == 0 ? "/usr/bin/systemd-analyze" : nil
