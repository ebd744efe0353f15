// The program the inventory names, on the operator's machine, looked at before anything is asked of a host.
//
//     covey-0.5.0              spec.server.artifact.file
//     covey-0.5.0.manifest     what it is
//     covey-0.5.0.manifest.sig who says so

import CLinux
import Foundations
import Glibc
import Inventory
import Linux
import PKI

struct OperatorArtifact: Sendable {
    let path: String
    let manifest: ArtifactManifest
    /// As it is signed.
    let text: [UInt8]
    /// Empty: nobody's.
    let signature: [UInt8]

    static func manifestPath(_ program: String) -> String { program + ".manifest" }
    static func signaturePath(_ program: String) -> String { program + ".manifest.sig" }

    /// Nil when the inventory names none.
    init?(_ inventory: Inventory) throws(FleetFailure) {
        guard let path = inventory.artifact.file else { return nil }
        do throws(SlotFailure) {
            try self.init(path)
            try check(inventory)
        } catch { throw FleetFailure(code: 3, text: "ARTIFACT: \(path): \(error).\nNothing was changed.") }
    }

    /// With its manifest, or, without one, by what the program says of itself.
    init(_ path: String) throws(SlotFailure) {
        let facts: FileDigest.Facts
        do throws(PKIError) { facts = try FileDigest.of(path) } catch { throw SlotFailure("\(error)") }
        self.path = path
        let manifestPath = Self.manifestPath(path)
        let signaturePath = Self.signaturePath(path)
        guard KeyFile.exists(manifestPath) else {
            guard !KeyFile.exists(signaturePath) else { throw SlotFailure("there is \(signaturePath), but no \(manifestPath)") }
            manifest = try Self.describe(path, facts)
            text = Array(manifest.text.utf8)
            signature = []
            return
        }
        do throws(PKIError) {
            text = try KeyFile.read(manifestPath).bytes
            guard let read = ArtifactManifest(text) else { throw PKIError.library(what: manifestPath, reason: "is no manifest") }
            manifest = read
            if KeyFile.exists(signaturePath) {
                guard let parsed = SignatureFile.parse(try KeyFile.read(signaturePath).bytes) else {
                    throw PKIError.library(what: signaturePath, reason: "is no signature: 64 bytes in base64 are wanted")
                }
                signature = parsed
            } else {
                signature = []
            }
        } catch { throw SlotFailure("\(error)") }
        guard facts.sha256 == manifest.sha256, facts.size == manifest.size else {
            throw SlotFailure(
                "it has SHA-256 \(facts.sha256.prefix(12)) and \(facts.size) bytes, its manifest says "
                    + "\(manifest.sha256.prefix(12)) and \(manifest.size): it was changed, or the manifest is of another")
        }
    }

    static func describe(_ path: String) throws(SlotFailure) -> ArtifactManifest {
        let facts: FileDigest.Facts
        do throws(PKIError) { facts = try FileDigest.of(path) } catch { throw SlotFailure("\(error)") }
        return try describe(path, facts)
    }

    /// Runs it, to ask what it is.
    static func describe(_ path: String, _ facts: FileDigest.Facts) throws(SlotFailure) -> ArtifactManifest {
        guard let said = ProgramFacts.of(path) else {
            throw SlotFailure("it does not run here and say that it is covey or etcd (--version)")
        }
        return ArtifactManifest(
            engine: said.engine, version: said.version, platform: ProgramFacts.platform, size: facts.size, sha256: facts.sha256)
    }

    private func check(_ inventory: Inventory) throws(SlotFailure) {
        if let wanted = inventory.artifact.sha256, wanted != manifest.sha256 {
            throw SlotFailure("it has SHA-256 \(manifest.sha256.prefix(12)), spec.server.artifact.sha256 is \(wanted.prefix(12))")
        }
        if let wanted = inventory.version, wanted != manifest.version {
            throw SlotFailure("it is version \(manifest.version), spec.server.version is \(wanted)")
        }
        guard manifest.engine == inventory.engine.name else {
            throw SlotFailure("it is engine \(manifest.engine), spec.server.engine is \(inventory.engine.name)")
        }
        // Keys may be on the hosts alone: then these judge.
        let keys = ReleaseKeys(inventory.artifact, folder: "")
        guard signature.isEmpty || !keys.keys.isEmpty else { return }
        do throws(ReleaseKeys.Refusal) { _ = try keys.admit(text, signature, inventory.artifact) } catch {
            if signature.isEmpty || inventory.artifact.signer.map({ name in keys.keys.contains { $0.name == name } }) == true {
                throw SlotFailure(error.text)
            }
        }
    }

    var wish: ChangePlan.Program {
        ChangePlan.Program(slot: manifest.slot, sha256: manifest.sha256, isUnsigned: signature.isEmpty)
    }

    /// A piece of it; empty at its end.
    func read(at offset: UInt64, _ count: Int) throws(FleetFailure) -> [UInt8] {
        let descriptor = unsafe covey_open(path, O_RDONLY, 0)
        guard descriptor >= 0 else { throw FleetFailure(text: "\(SystemError("open", path))") }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: count)
        while true {
            let got = unsafe pread(descriptor, &buffer, count, off_t(offset))
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw FleetFailure(text: "\(SystemError("read", path))") }
            return Array(buffer[..<got])
        }
    }
}
