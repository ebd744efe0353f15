// Getting a program onto hosts, and members into it. All hosts have it before the first member is touched; a member is
// switched to it right before it is restarted. (A canary, and the way back by `program.previous`, come with upgrades.)

import Foundations
import Inventory
import Linux
import Wire

extension Fleet {
    private static let pieceBytes = 1 << 20

    /// On each host: the slot of the inventory's program, or of the host's own package. Nothing for upstream as installed.
    @discardableResult
    func stage(_ held: Held, _ hosts: [String]) async throws(FleetFailure) -> [String: String] {
        guard inventory.installedProgram == nil else { return [:] }
        let artifact = try OperatorArtifact(inventory)
        if let artifact, artifact.signature.isEmpty {
            events.tell("! \(artifact.manifest.slot) is not signed by anybody; the inventory allows it")
        }
        let slots = Gathered()
        do throws(FleetFailure) {
            try await agents.all(hosts) { [self] host throws(FleetFailure) in
                if let artifact {
                    slots.add(host, try await send(held, artifact, host))
                } else {
                    slots.add(host, try await install(held, host, ""))
                }
            }
        } catch {
            // A host has said no: that is a refusal, and not a failure on the way.
            guard error.text.contains("ARTIFACT: ") else { throw error }
            throw FleetFailure(code: 3, text: "\(error.text)\nNothing was changed.")
        }
        return slots.all
    }

    private func install(_ held: Held, _ host: String, _ sha256: String) async throws(FleetFailure) -> String {
        let answer: AgentPB.InstallSlotResponse = try await agents.call(
            host, RPC.Agent.installSlot,
            AgentPB.InstallSlotRequest(header: held.header(cluster, "slot"), sha256: sha256), seconds: 60)
        return answer.slot
    }

    private func send(_ held: Held, _ artifact: OperatorArtifact, _ host: String) async throws(FleetFailure) -> String {
        let sha256 = artifact.manifest.sha256
        let offer: AgentPB.OfferArtifactResponse = try await agents.call(
            host, RPC.Agent.offerArtifact,
            AgentPB.OfferArtifactRequest(
                header: held.header(cluster, "offer"), manifest: artifact.text, signature: artifact.signature))
        if !offer.slot.isEmpty { return try await install(held, host, sha256) }
        var offset = offer.received
        // As often as there are pieces, and again for those that were lost.
        var rounds = 4 * (artifact.manifest.size / UInt64(Self.pieceBytes) + 2)
        while offset < artifact.manifest.size {
            guard rounds > 0 else { throw FleetFailure(text: "\(host) does not take \(artifact.manifest.slot)") }
            rounds -= 1
            let answer: AgentPB.UploadArtifactResponse = try await agents.call(
                host, RPC.Agent.uploadArtifact,
                AgentPB.UploadArtifactRequest(
                    header: held.header(cluster, "upload"), sha256: sha256, offset: offset,
                    data: try artifact.read(at: offset, Self.pieceBytes)), seconds: 60)
            offset = answer.received
        }
        return try await install(held, host, sha256)
    }

    /// From its next start on. `slot`: nil for upstream as installed.
    func activate(_ held: Held, _ host: String, _ slot: String?) async throws(FleetFailure) {
        let _: AgentPB.StepResponse = try await agents.call(
            host, RPC.Agent.activateSlot,
            AgentPB.ActivateSlotRequest(header: held.header(cluster, "activate"), slot: slot ?? ""), seconds: 60)
    }

    /// For members that have not been started yet.
    func stageAndActivate(_ held: Held, _ hosts: [String]) async throws(FleetFailure) {
        let slots = try await stage(held, hosts)
        try await agents.all(hosts) { [self] host throws(FleetFailure) in try await activate(held, host, slots[host]) }
    }
}

/// What tasks find, by host.
private final class Gathered: Sendable {
    private let found = Mutex<[String: String]>([:])

    func add(_ host: String, _ value: String) { found.withLock { $0[host] = value } }
    var all: [String: String] { found.withLock { $0 } }
}
