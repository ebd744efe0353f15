// The server as a program, looked at from outside by Python: recorded conversations replayed, random operations beside a
// real server, kills under load. The scripts run by hand too, longer: Tests/ServerTests/Replay.

import TestSupport
import Testing

@Suite(.serialized)
struct BlackBoxTests {
    private static let folder = RealTools.root + "/Tests/ServerTests"
    private static let protos = RealTools.root + "/Sources/Core/Wire/Protos"

    static let server = RealTools.covey + " server"

    private func run(_ script: String, _ arguments: [String]) throws {
        let python = try #require(RealTools.python, "run: make deps")
        let result = Subprocess.run(python, [Self.folder + "/Replay/" + script, "--protos", Self.protos] + arguments)
        #expect(result.status == 0, "\(script) \(arguments.joined(separator: " "))\n\(result.output.suffix(6000))")
        print("\(script): \(result.output.split(separator: "\n").last ?? "")")
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `recorded conversations with a real server give the same answers`() throws {
        try run(
            "replay_vectors.py",
            ["--server", Self.server, "--vectors", Self.folder + "/Data/vectors", "--deviations", Self.folder + "/Data/deviations.json"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `random operations give the same answers as a real server`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps")
        let count = RealTools.environment("DIFFERENTIAL_OPERATIONS") ?? "20000"
        try run(
            "differential.py",
            ["--a", Self.server, "--b", real + "/etcd", "--operations", count, "--seed", RealTools.seed, "--jobs", "2"])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `metrics and plain HTTP look like those of a real server`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps")
        try run("surface.py", ["--server", Self.server, "--real", real])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `a server that cannot start says so in the words of a real one`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps")
        try run("refusals.py", ["--server", Self.server, "--real", real])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `members of a new cluster find each other through another cluster, or a discovery service`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps")
        let real34 = RealTools.etcd34Server.map { ["--real34", $0] } ?? []
        try run("discovery.py", ["--server", Self.server, "--real", real] + real34)
    }

    @Test(.enabled(if: RealTools.required(RealTools.python) && RealTools.required(RealTools.etcd35)))
    func `the gRPC proxy answers like a real one, with members of both kinds behind it`() throws {
        let real = try #require(RealTools.etcd35, "run: make deps")
        try run("grpcproxy.py", ["--server", Self.server, "--real", real])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `the gateway speaks through WebSockets, and what breaks their protocol breaks nothing else`() throws {
        try run("websocket.py", ["--server", Self.server, "--seed", RealTools.seed])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `clients that others wrote work`() throws { try run("clients.py", ["--server", Self.server]) }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `what etcd's own tests look for is there`() throws {
        let python = try #require(RealTools.python, "run: make deps")
        let covey = String(Self.server.dropLast(" server".count))
        let result = Subprocess.run(python, [Self.folder + "/Replay/expectations.py", "--covey", covey])
        #expect(result.status == 0, "\(result.output.suffix(6000))")
        print("expectations.py: \(result.output.split(separator: "\n").last ?? "")")
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `nothing acknowledged is lost when the server is killed`() throws {
        try run("crash.py", ["--server", Self.server, "--kills", "20", "--seed", RealTools.seed])
    }

    @Test(.enabled(if: RealTools.required(RealTools.python)))
    func `nothing acknowledged is lost when the server ends inside a write, a sync, a commit`() throws {
        let places = [
            "log.write=exit@30", "log.written=exit@25", "log.sync=exit@20", "log.synced=exit@40", "store.commit=exit@3",
            "store.written=exit@2", "store.committed=exit@4", "snap.save=exit", "snap.rename=exit",
        ]
        let failpoints = places.joined(separator: ",")
        try run("crash.py", ["--server", Self.server, "--kills", "28", "--seed", RealTools.seed, "--failpoints", failpoints])
    }
}
