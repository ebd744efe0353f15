// Real etcd servers that need certificates or passwords, or that die.

import CoveyClient
import Foundations
import GRPC
import Glibc
import PKI
import TestSupport
import Testing
import Wire

func write(_ bytes: [UInt8], to path: String) throws { try KeyFile.write(bytes, to: path, mode: 0o600) }

private let program = (RealTools.etcd35 ?? "") + "/etcd"

/// A certificate authority, a server's certificate and a client's in a folder.
private func certificates(_ folder: String) throws {
    let now = Int64(time(nil))
    let authority = try CertificateAuthority.create(name: "test", now: now, validitySeconds: 86400)
    try write(authority.certificate.pem, to: folder + "/ca.pem")
    for name in ["server", "client"] {
        let key = try PrivateKey.generate(.p256)
        let profile = CertificateProfile(commonName: name, hosts: ["127.0.0.1", "localhost"], now: now, validitySeconds: 86400)
        try write(key.pem, to: "\(folder)/\(name).key")
        try write(try authority.issue(profile, for: key).pem, to: "\(folder)/\(name).pem")
    }
}

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct SecureTests {
    @Test func `TLS with certificates on both sides`() async throws {
        let folder = temporaryFolder("tls")
        defer { _ = Subprocess.run("/bin/rm", ["-rf", folder]) }
        try certificates(folder)
        let server = await EtcdProcess(
            program, usesTLS: true,
            [
                "--cert-file", folder + "/server.pem", "--key-file", folder + "/server.key", "--trusted-ca-file",
                folder + "/ca.pem", "--client-cert-auth",
            ]
        ).start()
        var configuration = ClientConfiguration(endpoints: [server.endpoint])
        configuration.tls = .init(
            trustedCA: folder + "/ca.pem", certificate: folder + "/client.pem", key: folder + "/client.key")
        let client = try Client(configuration)
        let value = Blob([UInt8](repeating: 4, count: 1_000_000))
        try await client.put("tls", value)
        #expect(try await client.get("tls")?.value == value)

        // By name: the resolver's first address may be one nobody listens on.
        configuration.endpoints = ["https://localhost:\(server.clientPort)"]
        #expect(try await Client(configuration).get("tls")?.value == value)

        for (change, text) in [
            ({ $0.trustedCA = folder + "/client.pem" }, "certificate signed by unknown authority"),
            (
                {
                    $0.certificate = ""; $0.key = ""
                }, "remote error: tls: bad certificate"
            ),
            ({ $0.serverName = "elsewhere" }, "certificate is not valid for elsewhere"),
        ] as [((inout ClientConfiguration.TLS) -> Void, String)] {
            var wrong = configuration
            wrong.endpoints = [server.endpoint]
            change(&wrong.tls!)
            let error = await #expect(throws: ClientError.self) {
                try await Client(wrong).get("tls", timeout: .seconds(4))
            }
            #expect(error?.code == .deadlineExceeded)
            #expect(error?.detail.contains(text) == true, "\(error!.detail)")
        }
        // Cleartext to a TLS port.
        let plain = try Client(ClientConfiguration(endpoints: ["http://127.0.0.1:\(server.clientPort)"]))
        let error = await #expect(throws: ClientError.self) { try await plain.get("tls", timeout: .seconds(3)) }
        #expect(error?.detail.contains("error reading server preface") == true, "\(error!.detail)")
    }

    @Test func `users, permissions, and tokens that a restart forgets`() async throws {
        let server = await EtcdProcess(program, ["--bcrypt-cost", "4"]).start()
        let open = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        for (user, role) in [("root", "root"), ("ann", "reader")] {
            _ = try await open.auth.userAdd(AuthUserAddRequest(name: user, password: user + "!"))
            _ = try await open.auth.roleAdd(AuthRoleAddRequest(name: role))
            _ = try await open.auth.userGrantRole(AuthUserGrantRoleRequest(user: user, role: role))
        }
        _ = try await open.auth.roleGrantPermission(
            AuthRoleGrantPermissionRequest(
                name: "reader", perm: Permission(permType: .read, key: Array("open/".utf8), rangeEnd: Array("open0".utf8))))
        // Credentials before they are needed do no harm.
        var configuration = ClientConfiguration(endpoints: [server.endpoint])
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(100)
        configuration.credentials = .init(user: "root", password: "root!")
        let root = try Client(configuration)
        try await root.put("open/a", "1")
        _ = try await open.auth.enable(AuthEnableRequest())

        let nobody = await #expect(throws: ClientError.self) { try await open.get("open/a") }
        #expect(nobody?.status == EtcdError.userEmpty)
        try await root.put("open/a", "2")

        configuration.credentials = .init(user: "ann", password: "wrong")
        let wrong = await #expect(throws: ClientError.self) { try await Client(configuration).get("open/a") }
        #expect(wrong?.status == EtcdError.authFailed)

        configuration.credentials = .init(user: "ann", password: "ann!")
        let ann = try Client(configuration)
        #expect(try await ann.get("open/a")?.value == "2")
        let denied = await #expect(throws: ClientError.self) { try await ann.put("open/a", "3") }
        #expect(denied?.status == EtcdError.permissionDenied)
        let unseen = await #expect(throws: ClientError.self) { try await ann.watch(.key("shut/a")) }
        #expect(unseen?.status == EtcdError.permissionDenied)

        let watch = try await ann.watch(.prefix("open/"))
        await server.kill()
        await server.start()
        #expect(try await ann.get("open/a", timeout: .seconds(20))?.value == "2")
        while (try? await root.put("open/a", "4", timeout: .seconds(20))) == nil {}
        guard case .changes(let changes)? = try await watch.next() else { return #expect(Bool(false)) }
        #expect(changes.last?.pair.value == "4")
    }
}

@Suite(.serialized, .enabled(if: hasEtcd), inTime) struct ClusterTests {
    @Test func `one of three members dies and the client goes on`() async throws {
        let members = await EtcdProcess.cluster(program)
        var configuration = ClientConfiguration(endpoints: members.map(\.endpoint), timeout: .seconds(30))
        configuration.reconnectDelay = .milliseconds(10) ... .milliseconds(200)
        let client = try Client(configuration)
        // The first write waits for the first leader.
        while (try? await client.put("k", "0")) == nil {}
        var leader = 0
        for (i, member) in members.enumerated() where try await client.status(of: member.endpoint).isLeader { leader = i }

        // One that only follows: nothing is lost, not even a moment of writing.
        let follower = (leader + 1) % 3
        await members[follower].kill()
        for i in 0..<50 {
            // A put in flight on the dead connection may be reported as unknown; it is the caller's to repeat.
            while (try? await client.put("k", "\(i)")) == nil {}
            #expect(try await client.get("k")?.value.text == "\(i)")
        }
        await members[follower].start()
        #expect(await comesTrue(seconds: 120) { (try? await client.status(of: members[follower].endpoint).leaderID) ?? 0 != 0 })

        // The leader: reads wait for the next one by being repeated.
        let watch = try await client.watch(.key("k"))
        await members[leader].kill()
        #expect(try await client.get("k")?.value == "49")
        while (try? await client.put("k", "after")) == nil {}
        var last = ""
        while last != "after", case .changes(let changes)? = try await watch.next() { last = changes.last!.pair.value.text }
        #expect(last == "after")
        #expect(try await client.members().count == 3)
    }

    @Test func `3.4 understands us too`() async throws {
        guard let old = RealTools.etcd34Server else { return }
        let server = await EtcdProcess(old, ["--enable-v2=false"]).start()
        let client = try Client(ClientConfiguration(endpoints: [server.endpoint]))
        let watch = try await client.watch(.key("k"))
        try await client.put("k", "1")
        guard case .changes(let changes)? = try await watch.next() else { return #expect(Bool(false)) }
        #expect(changes.map(\.pair.value) == ["1"])
        let error = await #expect(throws: ClientError.self) { try await client.auth.status(AuthStatusRequest()) }
        #expect(error?.status == EtcdError.unknownMethod("AuthStatus", of: "etcdserverpb.Auth"))
        try await client.lock("lock").unlock()
    }
}
