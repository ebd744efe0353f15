// `covey artifact`: keys, signatures, and what is installed where.

import Flags
import Foundations
import Glibc
import Inventory
import Linux
import PKI
import Wire

enum ArtifactCommand {
    /// What asks no host. Nil for what does.
    static func run(_ name: String, _ words: [String], _ values: OptionValues) -> Int32? {
        do throws(SlotFailure) {
            switch name {
            case "artifact key": return try key(words, values.text("output-dir"))
            case "artifact sign": return try sign(words, values)
            case "artifact verify": return try verify(words, values)
            default: return nil
            }
        } catch {
            Output.error("covey \(name): \(error)\n")
            return 1
        }
    }

    private static func one(_ words: [String], _ what: String) throws(SlotFailure) -> String {
        guard let word = words.first, words.count == 1 else { throw SlotFailure("give one \(what)") }
        return word
    }

    private static func key(_ words: [String], _ folder: String) throws(SlotFailure) -> Int32 {
        let name = try one(words, "name, for example release-2026")
        guard isPlainName(name) else { throw SlotFailure("\"\(name)\" is no name of a key: letters, digits, dashes") }
        let path = "\(folder)/\(name)"
        guard !KeyFile.exists(path + ".key") else { throw SlotFailure("\(path).key is there already; a key is not replaced") }
        do throws(PKIError) {
            let key = try PrivateKey.generate(.ed25519)
            let line = try PublicKeyText.text(key)
            try KeyFile.makeFolder(folder)
            try KeyFile.write(key.pem, to: path + ".key", mode: 0o600)
            try KeyFile.write(Array("\(line)\n".utf8), to: path + ".pub", mode: 0o644)
            Output.error("\(path).key signs: keep it where programs are made, not on hosts. Trust it in the inventory, or by\n")
            Output.error("/etc/covey/release-keys.d/\(name).pub on every host:\n")
            Output.data("spec: {server: {artifact: {keys: {\(name): \"\(line)\"}}}}\n")
        } catch { throw SlotFailure("\(error)") }
        return 0
    }

    private static func sign(_ words: [String], _ values: OptionValues) throws(SlotFailure) -> Int32 {
        let path = try one(words, "program")
        let manifest = try OperatorArtifact.describe(path)
        do throws(PKIError) {
            let key = try PrivateKey.load(values.text("key"), mustBePrivate: true)
            let text = Array(manifest.text.utf8)
            let signature = try DetachedSignature.make(key, text)
            // The signature last: what has one is complete.
            unsafe unlink(OperatorArtifact.signaturePath(path))
            try KeyFile.write(text, to: OperatorArtifact.manifestPath(path), mode: 0o644)
            try KeyFile.write(
                Array(SignatureFile.text(signature).utf8), to: OperatorArtifact.signaturePath(path), mode: 0o644)
            Output.data(manifest.text)
            Output.error("signed: \(OperatorArtifact.signaturePath(path)), with \(try PublicKeyText.text(key))\n")
        } catch { throw SlotFailure("\(error)") }
        return 0
    }

    private static func verify(_ words: [String], _ values: OptionValues) throws(SlotFailure) -> Int32 {
        let artifact = try OperatorArtifact(try one(words, "program"))
        guard !artifact.signature.isEmpty else { throw SlotFailure("\(artifact.path): nobody has signed it") }
        var keys: [(String, PrivateKey)] = []
        do throws(PKIError) {
            for path in values.list("key") { keys.append((path, try ReleaseKeys.load(path))) }
        } catch { throw SlotFailure("\(error)") }
        if keys.isEmpty {
            let file: InventoryFile
            do throws(InventoryFile.Failure) { file = try InventoryFile.read(values.text("file")) } catch {
                throw SlotFailure("whose keys? Give --key FILE, or an inventory with -f: \(error)")
            }
            keys = ReleaseKeys(file.inventory.artifact, folder: "/etc/covey/release-keys.d").keys.map { ($0.name, $0.key) }
        }
        guard let signer = keys.first(where: { DetachedSignature.holds($0.1, artifact.text, artifact.signature) }) else {
            throw SlotFailure(
                "\(artifact.path): its signature is of none of the keys \(keys.map(\.0).joined(separator: ", "))")
        }
        Output.data(artifact.manifest.text)
        Output.error("holds: signed by \(signer.0)\n")
        return 0
    }

    // MARK: Hosts

    static func list(_ fleet: Fleet) async -> Int32 {
        let seen = await fleet.agents.observe(fleet.inventory.hosts.map(\.name), fleet.cluster)
        var rows = [["HOST", "SLOT", "VERSION", "SHA-256", "SIGNED BY", "STATE"]]
        for host in fleet.inventory.hosts {
            guard let agent = seen[host.name] else {
                rows.append([host.name, "-", "-", "-", "-", "no answer"])
                continue
            }
            for slot in agent.slots {
                var state: [String] = []
                if slot.name == agent.runningSlot { state.append("runs") }
                if slot.name == agent.slot && slot.name != agent.runningSlot { state.append("from the next start on") }
                if state.isEmpty { state.append(slot.isUsed ? "before, or of another cluster" : "kept") }
                if !slot.problem.isEmpty { state.append(slot.problem) }
                rows.append([
                    host.name, slot.name, slot.version, String(slot.sha256.prefix(12)), slot.signer.isEmpty ? "NOBODY" : slot.signer,
                    state.joined(separator: ", "),
                ])
            }
            if agent.slots.isEmpty { rows.append([host.name, "-", "-", "-", "-", "what is installed"]) }
        }
        Output.data(Columns.text(rows))
        return seen.count == fleet.inventory.hosts.count ? 0 : 1
    }
}
