// Version slots: manifests and signatures, what is accepted and what is not, and what a crash leaves at every point.

import Foundations
import GRPC
import Glibc
import Inventory
import PKI
import TestSupport
import Testing
import Wire

@testable import Operations

/// A program that says what it is.
private func program(_ folder: String, _ version: String = "1.2.3", padding: String = "") throws -> String {
    let path = "\(folder)/covey-\(version)-\(padding.count)"
    try KeyFile.makeFolder(folder)
    try KeyFile.write(Array("#!/bin/sh\necho 'covey \(version) (etcd API 3.6.0)'\n# \(padding)\n".utf8), to: path, mode: 0o755)
    return path
}

@Suite struct ArtifactManifestTests {
    private let good = ArtifactManifest(
        engine: "covey", version: "1.2.3", platform: "linux/x86_64", size: 7, sha256: String(repeating: "a1", count: 32))

    @Test func `a manifest has one spelling`() {
        #expect(ArtifactManifest(Array(good.text.utf8)) == good)
        let text = good.text
        for (what, changed) in [
            ("another first line", text.replacing("artifact 1", with: "artifact 2")), ("no end", String(text.dropLast())),
            ("more", text + "x\n"), ("another order", text.replacing("engine covey\nversion 1.2.3", with: "version 1.2.3\nengine covey")),
            ("a path as version", text.replacing("1.2.3", with: "../1")), ("no size", text.replacing("size 7", with: "size 0")),
            ("too large", text.replacing("size 7", with: "size 99999999999")), ("zeros", text.replacing("size 7", with: "size 07")),
            ("upper case", text.replacing("a1a1", with: "A1A1")), ("another program", text.replacing("engine covey", with: "engine x")),
            ("nothing", ""), ("carriage returns", text.replacing("\n", with: "\r\n")),
        ] {
            #expect(ArtifactManifest(Array(changed.utf8)) == nil, "\(what)")
        }
    }

    @Test func `a key is a line, and signs what only it signs`() throws {
        let key = try PrivateKey.generate(.ed25519)
        let line = try PublicKeyText.text(key)
        #expect(line.hasPrefix("ed25519:") && line.utf8.count == 52)
        let back = try #require(PublicKeyText.key(line))
        let bytes = Array(good.text.utf8)
        let signature = try DetachedSignature.make(key, bytes)
        #expect(DetachedSignature.holds(back, bytes, signature))
        for index in [0, 31, 63] {
            var changed = signature
            changed[index] ^= 1
            #expect(!DetachedSignature.holds(back, bytes, changed))
        }
        #expect(!DetachedSignature.holds(back, bytes + [0], signature) && !DetachedSignature.holds(back, bytes, []))
        #expect(!DetachedSignature.holds(try PrivateKey.generate(.ed25519), bytes, signature))
        #expect(throws: PKIError.self) { try DetachedSignature.make(try PrivateKey.generate(), bytes) }
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:" + line.dropFirst(8), line + "AAAA"] {
            #expect(PublicKeyText.key(text) == nil, "\(text)")
        }
        #expect(SignatureFile.parse(Array(SignatureFile.text(signature).utf8)) == signature)
        #expect(SignatureFile.parse(Array(SignatureFile.text(signature).utf8) + [0x41]) == nil)
    }

    @Test func `OpenSSL's command agrees with our signatures`() throws {
        let folder = temporaryFolder("openssl")
        let key = try PrivateKey.generate(.ed25519)
        let bytes = Array(good.text.utf8)
        try KeyFile.write(key.publicPEM, to: folder + "/key.pem", mode: 0o600)
        try KeyFile.write(bytes, to: folder + "/text", mode: 0o600)
        try KeyFile.write(try DetachedSignature.make(key, bytes), to: folder + "/sig", mode: 0o600)
        let words = ["pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "text", "-sigfile", "sig"]
        let result = Subprocess.run("/bin/sh", ["-c", "cd \(folder) && openssl \(words.joined(separator: " "))"])
        #expect(result.status == 0, "\(result.output)")
    }
}

@Suite struct SlotStoreTests {
    private let folder = temporaryFolder("slots")
    private var store: SlotStore { SlotStore(folder + "/versions") }

    private func manifest(_ path: String) throws -> ArtifactManifest { try OperatorArtifact.describe(path) }

    private func send(_ path: String, _ store: SlotStore) throws -> ArtifactManifest {
        let manifest = try manifest(path)
        let bytes = try KeyFile.read(path).bytes
        var received = try store.begin(manifest, [])
        while received < manifest.size {
            received = try store.append(manifest.sha256, at: received, Array(bytes.dropFirst(Int(received)).prefix(10)))
        }
        return manifest
    }

    @Test func `what is sent in pieces becomes a slot, and what is not what was announced does not`() throws {
        let path = try program(folder)
        let store = store
        let manifest = try send(path, store)
        #expect(store.all().isEmpty, "not before it has been checked")
        #expect(try store.append(manifest.sha256, at: 3, [1]) == manifest.size, "a piece out of its place is left out")
        #expect(throws: SlotFailure.self) { try store.append(manifest.sha256, at: manifest.size, [1]) }
        #expect(throws: SlotFailure.self) { try store.append("../" + manifest.sha256.dropFirst(3), at: 0, [1]) }
        let slot = try store.install(manifest.sha256, signer: "me", now: 5) { _ in }
        #expect(slot.name == "1.2.3-\(manifest.sha256.prefix(12))" && slot.signer == "me" && slot.problem.isEmpty)
        try store.check(slot)

        let other = try program(folder, "1.2.4")
        let announced = try self.manifest(other)
        _ = try store.begin(announced, [])
        let wrong = [UInt8](repeating: 0x23, count: Int(announced.size))
        _ = try store.append(announced.sha256, at: 0, wrong)
        #expect(throws: SlotFailure.self) { try store.install(announced.sha256, signer: "", now: 5) { _ in } }
        #expect(try store.begin(announced, []) == 0, "it is sent from the start again")
        #expect(store.all().count == 1)
    }

    @Test func `a program that says that it is another is refused`() throws {
        let path = try program(folder)
        var manifest = try manifest(path)
        manifest.version = "9.9.9"
        _ = try store.begin(manifest, [])
        _ = try store.append(manifest.sha256, at: 0, try KeyFile.read(path).bytes)
        let failure = #expect(throws: SlotFailure.self) { try store.install(manifest.sha256, signer: "", now: 5) { _ in } }
        #expect(failure?.description.contains("it says covey 1.2.3") == true)
    }

    @Test(arguments: [false, true])
    func `killed at any point it is there whole or not at all, and a second try ends it`(_ isPackage: Bool) throws {
        let path = try program(folder)
        let first = store
        if !isPackage { _ = try send(path, first) }
        let sha256 = try manifest(path).sha256
        var states: [(String, String)] = []
        func keep(_ point: String) {
            let copy = "\(folder)/\(point.replacing("/", with: "-"))"
            #expect(Subprocess.run("/bin/cp", ["-a", first.folder, copy]).status == 0)
            states.append((point, copy))
        }
        func install(_ store: SlotStore, _ reach: (String) -> Void) throws -> Slot {
            if isPackage { return try store.install(package: path, now: 5, reach: reach) }
            let manifest = try manifest(path)
            if try store.begin(manifest, []) < manifest.size { _ = try send(path, store) }
            return try store.install(sha256, signer: "", now: 5, reach: reach)
        }
        _ = try install(first, keep)
        #expect(states.map(\.0) == ["slot/checked", "slot/written", "slot/placed"])
        for (point, copy) in states {
            let again = SlotStore(copy)
            #expect(again.all().count == (point == "slot/placed" ? 1 : 0), "\(point)")
            let slot = try install(again) { _ in }
            try again.check(slot)
            #expect(again.all() == [slot], "\(point)")
        }
    }

    @Test func `a slot that was changed is seen before it is used`() throws {
        let path = try program(folder)
        let manifest = try send(path, store)
        let slot = try store.install(manifest.sha256, signer: "", now: 5) { _ in }
        var bytes = try KeyFile.read(path).bytes
        bytes[bytes.count - 2] ^= 1
        try KeyFile.write(bytes, to: store.path(slot), mode: 0o755)
        let failure = #expect(throws: SlotFailure.self) { try store.check(slot) }
        #expect(failure?.description.contains("was changed") == true)
        unlink(store.path(slot))
        #expect(store.all().first?.problem == "its program is gone")
    }

    @Test func `old slots go, the newest three and those in use stay`() throws {
        for number in 1...7 {
            let path = try program(folder, "1.0.\(number)")
            _ = try store.install(package: path, now: Int64(number)) { _ in }
        }
        let oldest = try #require(store.all().last)
        let removed = store.clean(inUse: [oldest.name], now: 100)
        #expect(removed.count == 3 && store.all().map(\.manifest.version) == ["1.0.7", "1.0.6", "1.0.5", "1.0.1"])
        #expect(HostKeeper.names(in: store.folder).allSatisfy { !$0.hasPrefix(".") })
        #expect(store.clean(inUse: [oldest.name], now: 100).isEmpty)
    }
}

@Suite struct HostSlotTests {
    private let folder = temporaryFolder("hostslots")
    private let backend = RememberingBackend()
    private let keeper: HostKeeper
    private let key: PrivateKey

    init() throws {
        keeper = HostKeeper(
            AgentFolders(root: folder), HostRecord(name: "kv1", address: "10.0.0.1", port: 2378), backend, time: { 1_700_000_000 })
        key = try PrivateKey.generate(.ed25519)
    }

    private func header(_ epoch: UInt64) -> AgentPB.StepHeader {
        AgentPB.StepHeader(cluster: "main", operation: "op-\(epoch)", epoch: epoch)
    }

    /// Claims with an inventory that says this of the artifact.
    private func claim(_ epoch: UInt64, _ artifact: String) throws {
        let server = artifact.isEmpty ? "" : "  server: {artifact: {file: /x, \(artifact)}}\n"
        let text = "metadata: {name: main}\nspec:\n\(server)  hosts: {kv1: 10.0.0.1, kv2: 10.0.0.2, kv3: 10.0.0.3}\n"
        _ = try InventoryFile.parse(Array(text.utf8), "test")
        let operation = AgentPB.Operation(id: "op-\(epoch)", kind: "apply", epoch: epoch, inventory: text)
        #expect(try keeper.claim(AgentPB.ClaimRequest(cluster: "main", operation: operation)).isGranted)
    }

    private func end(_ epoch: UInt64) throws {
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header(epoch), state: "done"))
    }

    private func offer(_ epoch: UInt64, _ manifest: ArtifactManifest, _ signature: [UInt8]) throws -> AgentPB.OfferArtifactResponse {
        try keeper.offerArtifact(
            AgentPB.OfferArtifactRequest(header: header(epoch), manifest: Array(manifest.text.utf8), signature: signature))
    }

    private func refusal(_ body: () throws -> some Any) -> String {
        do {
            _ = try body()
            return ""
        } catch { return (error as? GRPCStatus)?.message ?? "\(error)" }
    }

    private func sign(_ manifest: ArtifactManifest) throws -> [UInt8] { try DetachedSignature.make(key, Array(manifest.text.utf8)) }

    @Test func `who signed it, what it is and for whom is asked before a byte is taken`() throws {
        let path = try program(folder + "/made")
        let manifest = try OperatorArtifact.describe(path)
        let mine = try PublicKeyText.text(key)
        let other = try PublicKeyText.text(try PrivateKey.generate(.ed25519))
        let cases: [(String, String, [UInt8], String)] = [
            ("nobody signed", "keys: {me: \"\(mine)\"}", [], "nobody has signed it"),
            ("no key is trusted", "sha256: \(manifest.sha256)", try sign(manifest), "there are none"),
            ("another key", "keys: {you: \"\(other)\"}", try sign(manifest), "none of the trusted keys (you)"),
            ("unsigned is allowed, a wrong signature is not", "allowUnsigned: true", try sign(manifest), "none of the trusted keys"),
            ("another signer", "signer: you, keys: {me: \"\(mine)\", you: \"\(other)\"}", try sign(manifest), "wants you"),
            ("another program", "sha256: \(String(repeating: "0", count: 64)), allowUnsigned: true", [], "artifact.sha256 is 000000000000"),
        ]
        var epoch: UInt64 = 0
        for (what, artifact, signature, text) in cases {
            epoch += 1
            try claim(epoch, artifact)
            let message = refusal { try offer(epoch, manifest, signature) }
            #expect(message.contains("ARTIFACT: ") && message.contains(text), "\(what): \(message)")
            try end(epoch)
        }
        #expect(!KeyFile.exists(keeper.folders.versions), "nothing was taken")
        try claim(90, "allowUnsigned: true")
        var foreign = manifest
        foreign.platform = "linux/riscv64"
        #expect(refusal { try offer(90, foreign, []) }.contains("this host is"))
        foreign = manifest
        foreign.engine = "etcd"
        #expect(refusal { try offer(90, foreign, []) }.contains("engine etcd"))
        #expect(try offer(90, manifest, []).received == 0)
    }

    @Test func `a key on the host is trusted as well, and a file there that is none is told`() throws {
        let manifest = try OperatorArtifact.describe(try program(folder + "/made"))
        try KeyFile.makeFolder(keeper.folders.releaseKeys)
        try KeyFile.write(Array("rubbish\n".utf8), to: keeper.folders.releaseKeys + "/b.pub", mode: 0o644)
        try claim(1, "signer: release")
        #expect(refusal { try offer(1, manifest, try sign(manifest)) }.contains("b.pub"))
        try KeyFile.write(key.publicPEM, to: keeper.folders.releaseKeys + "/release.pem", mode: 0o644)
        #expect(try offer(1, manifest, try sign(manifest)).slot.isEmpty)
    }

    private func install(_ epoch: UInt64, _ path: String) throws -> String {
        let manifest = try OperatorArtifact.describe(path)
        let offered = try offer(epoch, manifest, try sign(manifest))
        if offered.slot.isEmpty {
            _ = try keeper.uploadArtifact(
                AgentPB.UploadArtifactRequest(
                    header: header(epoch), sha256: manifest.sha256, offset: offered.received, data: try KeyFile.read(path).bytes))
        }
        return try keeper.installSlot(AgentPB.InstallSlotRequest(header: header(epoch), sha256: manifest.sha256)).slot
    }

    private func activate(_ epoch: UInt64, _ slot: String) throws -> AgentPB.StepResponse {
        try keeper.activateSlot(AgentPB.ActivateSlotRequest(header: header(epoch), slot: slot))
    }

    @Test func `a member is switched by one link, the way back is kept, and a changed slot is not used`() throws {
        try claim(1, "keys: {me: \"\(try PublicKeyText.text(key))\"}")
        let a = try install(1, try program(folder + "/made", "1.0.0"))
        let b = try install(1, try program(folder + "/made", "1.1.0"))
        #expect(keeper.activeSlot("main") == nil)
        #expect(try activate(1, a).isChanged)
        #expect(try !activate(1, a).isChanged)
        #expect(try activate(1, b).evidence == "\(a) -> \(b)")
        #expect(keeper.activeSlot("main") == b)
        #expect(keeper.linkTarget(keeper.folders.previousProgram("main")).contains(a))
        #expect(throws: GRPCStatus.self) { try activate(1, "../../../bin") }
        let slot = try #require(keeper.slots.slot(a))
        try KeyFile.write([UInt8](repeating: 0x20, count: Int(slot.manifest.size)), to: keeper.slots.path(slot), mode: 0o755)
        #expect(refusal { try activate(1, a) }.contains("was changed"))
        #expect(keeper.activeSlot("main") == b)
        #expect(try activate(1, "").isChanged)
        #expect(keeper.activeSlot("main") == nil)
    }

    @Test func `the package's own program needs no signature, and must be what the inventory wants`() throws {
        keeper.packageProgram = try program(folder + "/usr", "2.0.0")
        try claim(1, "")
        let slot = try keeper.installSlot(AgentPB.InstallSlotRequest(header: header(1))).slot
        #expect(slot.hasPrefix("2.0.0-") && keeper.slots.slot(slot)?.signer == "package")
        #expect(try !keeper.installSlot(AgentPB.InstallSlotRequest(header: header(1))).isChanged)
        // Packages replace files; what is in the slot stays as it was.
        let path = keeper.packageProgram
        try KeyFile.write(Array("#!/bin/sh\necho 'covey 2.1.0 (x)'\n".utf8), to: path, mode: 0o755)
        try keeper.slots.check(try #require(keeper.slots.slot(slot)))
        #expect(try keeper.installSlot(AgentPB.InstallSlotRequest(header: header(1))).slot.hasPrefix("2.1.0-"))
        var seen = AgentPB.ObserveResponse()
        keeper.describeSlots("main", &seen)
        #expect(seen.slots.map(\.version).sorted() == ["2.0.0", "2.1.0"] && seen.slot.isEmpty && seen.runningSlot.isEmpty)
    }

    @Test func `nobody sends anything without holding the cluster`() throws {
        let path = try program(folder + "/made")
        let manifest = try OperatorArtifact.describe(path)
        #expect(throws: GRPCStatus.self) { try offer(1, manifest, []) }
        #expect(throws: GRPCStatus.self) {
            try keeper.uploadArtifact(AgentPB.UploadArtifactRequest(header: header(1), sha256: manifest.sha256, data: [1]))
        }
        try claim(5, "allowUnsigned: true")
        #expect(throws: GRPCStatus.self) { try offer(4, manifest, []) }
    }
}
