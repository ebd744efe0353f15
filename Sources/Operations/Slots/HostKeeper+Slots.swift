// The host's side of version slots: which programs may be installed here, and which one the member is started with. That is
// one link per cluster, `/etc/covey/NAME/program`: a rename switches it, so whoever is killed leaves the old one or the new one.

import Flags
import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import PKI
import Rendering
import Wire

extension HostKeeper {
    var slots: SlotStore { SlotStore(folders.versions) }

    // MARK: What there is

    /// The slot the member is started with next; nil: the program of the package, in its own place.
    func activeSlot(_ cluster: String) -> String? { slotName(linkTarget(folders.program(cluster))) }

    /// The one that runs: by the kernel's word where it gives it, by what was started last elsewhere.
    func runningSlot(_ cluster: String, _ unit: AgentPB.UnitState) -> String? {
        guard unit.mainProcess > 0 else { return nil }
        let program = linkTarget("/proc/\(unit.mainProcess)/exe")
        if !program.isEmpty { return slotName(program.hasSuffix(" (deleted)") ? String(program.dropLast(10)) : program) }
        // Where hosts hide processes of other users from the agent.
        guard let bytes = try? KeyFile.read(folders.startedSlot(cluster)).bytes, !bytes.isEmpty else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// It was switched to another program than the one that runs.
    func needsOtherProgram(_ cluster: String, _ unit: AgentPB.UnitState) -> Bool {
        unit.mainProcess > 0 && activeSlot(cluster) != runningSlot(cluster, unit)
    }

    /// After an order to start: what it will run.
    func noteStarted(_ cluster: String) throws(GRPCStatus) {
        let slot = activeSlot(cluster) ?? ""
        guard slot != "" || KeyFile.exists(folders.startedSlot(cluster)) else { return }
        try perform { () throws(PKIError) in
            try KeyFile.write(Array(slot.utf8), to: folders.startedSlot(cluster), mode: 0o600)
        }
    }

    private func slotName(_ program: String) -> String? {
        guard program.hasPrefix(folders.versions + "/") else { return nil }
        return program.dropFirst(folders.versions.utf8.count + 1).split(separator: "/").first.map(String.init)
    }

    func describeSlots(_ cluster: String, _ seen: inout AgentPB.ObserveResponse) {
        seen.slot = activeSlot(cluster) ?? ""
        seen.runningSlot = runningSlot(cluster, seen.unit ?? AgentPB.UnitState()) ?? ""
        let used = slotsInUse(cluster)
        seen.slots = slots.all().map { slot in
            AgentPB.SlotState(
                name: slot.name, version: slot.manifest.version, sha256: slot.manifest.sha256, signer: slot.signer,
                size: slot.manifest.size, problem: slot.problem, isUsed: used.contains(slot.name))
        }
    }

    /// Of every cluster of this host: what it runs, is started with, and was started with before.
    private func slotsInUse(_ cluster: String) -> Set<String> {
        var used: Set<String> = []
        // One that is about to be made here has no ledger yet.
        for cluster in Set(clusters + [cluster]) {
            for link in [folders.program(cluster), folders.previousProgram(cluster)] {
                if let name = slotName(linkTarget(link)) { used.insert(name) }
            }
            // Who cannot be asked runs, at worst, what the links say.
            if let unit = try? backend.state(cluster), let name = runningSlot(cluster, unit) { used.insert(name) }
        }
        return used
    }

    // MARK: Installing

    /// By the inventory the operation was begun with.
    func declared(_ header: AgentPB.StepHeader) throws(GRPCStatus) -> Inventory {
        let text = lastOperation(header.cluster)?.inventory ?? ""
        do throws(InventoryFile.Failure) { return try InventoryFile.parse(Array(text.utf8), "inventory").inventory } catch {
            throw GRPCStatus(.failedPrecondition, "operation \(header.operation) has no inventory: \(error)")
        }
    }

    private func refused(_ slot: String, _ why: String) -> GRPCStatus {
        GRPCStatus(.failedPrecondition, "ARTIFACT: \(slot) is not installed on \(host.name): \(why)")
    }

    /// Before anything is sent: who signed it, and is it what the inventory wants.
    private func admit(_ bytes: [UInt8], _ signature: [UInt8], _ header: AgentPB.StepHeader) throws(GRPCStatus) -> (
        manifest: ArtifactManifest, signer: String
    ) {
        guard let manifest = ArtifactManifest(bytes) else {
            throw refused("what is offered", "its manifest is none (\(ArtifactManifest.first))")
        }
        let inventory = try declared(header)
        if let wanted = inventory.artifact.sha256, wanted != manifest.sha256 {
            throw refused(manifest.slot, "spec.server.artifact.sha256 is \(wanted.prefix(12)), it has \(manifest.sha256.prefix(12))")
        }
        if let wanted = inventory.version, wanted != manifest.version {
            throw refused(manifest.slot, "spec.server.version is \(wanted), it is \(manifest.version)")
        }
        guard manifest.engine == inventory.engine.name else {
            throw refused(manifest.slot, "it is engine \(manifest.engine), the inventory says \(inventory.engine.name)")
        }
        guard manifest.platform == ProgramFacts.platform else {
            throw refused(manifest.slot, "it is for \(manifest.platform), this host is \(ProgramFacts.platform)")
        }
        let keys = ReleaseKeys(inventory.artifact, folder: folders.releaseKeys)
        do throws(ReleaseKeys.Refusal) {
            return (manifest, try keys.admit(bytes, signature, inventory.artifact))
        } catch { throw refused(manifest.slot, error.text) }
    }

    func offerArtifact(_ request: AgentPB.OfferArtifactRequest) throws(GRPCStatus) -> AgentPB.OfferArtifactResponse {
        var answer = AgentPB.OfferArtifactResponse()
        _ = try step(request.header, "offer") { header throws(GRPCStatus) in
            let (manifest, signer) = try admit(request.manifest, request.signature, header)
            if let there = slots.slot(sha256: manifest.sha256), there.problem.isEmpty {
                answer.slot = there.name
                return (false, "slot \(there.name) is there")
            }
            answer.received = try perform { () throws(SlotFailure) in try slots.begin(manifest, request.signature) }
            let by = signer.isEmpty ? "UNSIGNED, allowed by the inventory" : "signed by \(signer)"
            return (true, "\(manifest.slot), \(by), \(answer.received) of \(manifest.size) bytes are here")
        }
        return answer
    }

    /// No step of its own: what is written has no name yet, and the step that gives it one reads it all.
    func uploadArtifact(_ request: AgentPB.UploadArtifactRequest) throws(GRPCStatus) -> AgentPB.UploadArtifactResponse {
        _ = try fenced(request.header)
        let received = try perform { () throws(SlotFailure) in
            try slots.append(request.sha256, at: request.offset, request.data)
        }
        crashPoint("upload/acted")
        return AgentPB.UploadArtifactResponse(received: received)
    }

    func installSlot(_ request: AgentPB.InstallSlotRequest) throws(GRPCStatus) -> AgentPB.InstallSlotResponse {
        var answer = AgentPB.InstallSlotResponse()
        let response = try step(request.header, "slot") { header throws(GRPCStatus) in
            let before = Set(slots.all().map(\.name))
            let slot =
                request.sha256.isEmpty ? try installPackage(header) : try installUpload(request.sha256, header)
            try perform { () throws(SlotFailure) in try slots.check(slot) }
            answer.slot = slot.name
            let by = slot.signer.isEmpty ? "UNSIGNED" : slot.origin == "package" ? "of the package" : "signed by \(slot.signer)"
            return (!before.contains(slot.name), "\(slot.name), \(by), SHA-256 \(slot.manifest.sha256)")
        }
        answer.isChanged = response.isChanged
        answer.evidence = response.evidence
        return answer
    }

    private func installUpload(_ sha256: String, _ header: AgentPB.StepHeader) throws(GRPCStatus) -> Slot {
        if let there = slots.slot(sha256: sha256) { return there }
        let place = "\(folders.versions)/.incoming-\(sha256)"
        guard sha256.utf8.count == 64, Hexadecimal.decode(sha256) != nil, let manifest = try? KeyFile.read(place + "/manifest").bytes
        else { throw GRPCStatus(.failedPrecondition, "nobody has sent a program with SHA-256 \(sha256.prefix(12)) to \(host.name)") }
        // Without the file nobody has signed; a damaged one is a signature that is wrong.
        let signature = (try? KeyFile.read(place + "/manifest.sig").bytes).map { SignatureFile.parse($0) ?? [0] } ?? []
        let (_, signer) = try admit(manifest, signature, header)
        return try perform { () throws(SlotFailure) in
            try slots.install(sha256, signer: signer, now: now) { crashPoint($0) }
        }
    }

    /// Under systemd the package is root's, or it is none.
    private func installPackage(_ header: AgentPB.StepHeader) throws(GRPCStatus) -> Slot {
        let path = packageProgram
        let inventory = try declared(header)
        if backend.name == "systemd" {
            var status = stat()
            guard unsafe stat(path, &status) == 0, status.st_uid == 0, status.st_mode & 0o022 == 0 else {
                throw refused(path, "it is not root's, or others may write it; install the package")
            }
        }
        let slot = try perform { () throws(SlotFailure) in
            try slots.install(package: path, now: now) { crashPoint($0) }
        }
        if let wanted = inventory.artifact.sha256, wanted != slot.manifest.sha256 {
            throw refused(slot.name, "spec.server.artifact.sha256 is \(wanted.prefix(12)), the package here has another")
        }
        if let wanted = inventory.version, wanted != slot.manifest.version {
            throw refused(slot.name, "spec.server.version is \(wanted), the package here is \(slot.manifest.version)")
        }
        return slot
    }

    // MARK: Switching

    /// An agent may not choose among what is installed: it is what the file on this host names, or the package's.
    func activateSlot(
        _ request: AgentPB.ActivateSlotRequest, by caller: String
    ) throws(GRPCStatus) -> AgentPB.StepResponse {
        guard !Self.isOperator(caller), let header = request.header else { return try activateSlot(request) }
        let inventory = try declared(header)
        let slot = slots.slot(request.slot)
        let sha256 = slot?.manifest.sha256
        let isNamed =
            if inventory.installedProgram != nil {
                request.slot.isEmpty
            } else if inventory.artifact.file == nil {
                sha256 != nil && sha256 == packageDigest.of(packageProgram)
            } else {
                slot != nil && (inventory.artifact.sha256 ?? sha256) == sha256
                    && (inventory.version ?? slot?.manifest.version) == slot?.manifest.version && slot?.origin == "upload"
            }
        guard isNamed else {
            throw GRPCStatus(.permissionDenied, "\(host.name): \(caller) may not choose the program \"\(request.slot)\"")
        }
        return try activateSlot(request)
    }

    func activateSlot(_ request: AgentPB.ActivateSlotRequest) throws(GRPCStatus) -> AgentPB.StepResponse {
        try step(request.header, "activate") { header throws(GRPCStatus) in
            let cluster = header.cluster
            let link = folders.program(cluster)
            let before = linkTarget(link)
            let old = slotName(before) ?? "the package's program"
            try perform { () throws(PKIError) in try KeyFile.makeFolder(folders.configuration(cluster), mode: 0o755) }
            if request.slot.isEmpty {
                guard !before.isEmpty else { return (false, old) }
                try pointLink(folders.previousProgram(cluster), to: before)
                unsafe unlink(link)
                Folder.sync(of: link)
                try renderUnit(cluster)
                return (true, "\(old) -> the package's program")
            }
            guard let slot = slots.slot(request.slot) else {
                throw GRPCStatus(.failedPrecondition, "\(host.name) has no slot \(request.slot)")
            }
            try perform { () throws(SlotFailure) in try slots.check(slot) }
            let target = slots.path(slot)
            if before == target {
                try renderUnit(cluster)
                return (false, slot.name)
            }
            if !before.isEmpty { try pointLink(folders.previousProgram(cluster), to: before) }
            crashPoint("activate/kept")
            try pointLink(link, to: target)
            crashPoint("activate/linked")
            try renderUnit(cluster)
            let removed = slots.clean(inUse: slotsInUse(cluster), now: now)
            let gone = removed.isEmpty ? "" : "; removed \(removed.joined(separator: ", "))"
            return (true, "\(old) -> \(slot.name)\(gone)")
        }
    }

    /// Before a start: a program that was changed is not used, and nothing that was not installed here.
    func guardProgram(_ cluster: String) throws(GRPCStatus) {
        let target = linkTarget(folders.program(cluster))
        guard !target.isEmpty else { return }
        guard let name = slotName(target), let slot = slots.slot(name), slots.path(slot) == target else {
            throw GRPCStatus(.failedPrecondition, "\(folders.program(cluster)) on \(host.name) is \(target), which is no version slot")
        }
        try perform { () throws(SlotFailure) in try slots.check(slot) }
    }

    /// The unit says whether there is a link; before the first rendering there is no unit.
    private func renderUnit(_ cluster: String) throws(GRPCStatus) {
        guard backend.name == "systemd", let inventory = storedInventory(cluster) else { return }
        let file = HostFiles.dropIn(inventory, program: unitProgram(cluster))
        guard KeyFile.exists(folders.root + file.path) else { return }
        if try put(RenderedFile(path: folders.root + file.path, text: file.text)) {
            try perform { () throws(BackendError) in try backend.reload() }
        }
    }

    /// For the unit: the link, when it is there.
    func unitProgram(_ cluster: String) -> String? {
        linkTarget(folders.program(cluster)).isEmpty ? nil : "/etc/covey/\(cluster)/program"
    }
}
