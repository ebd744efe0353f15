// What a host lets the agent of another host do to it: only what the file on this very host wants.

import GRPC
import Glibc
import Inventory
import PKI
import TestSupport
import Testing
import Wire

@testable import Operations

@Suite struct HostConductorTests {
    private static func text(_ generation: Int, _ quota: String = "1GiB", hosts: Int = 3) -> String {
        var text = "metadata: {name: main, generation: \(generation)}\nspec:\n  storage: {quota: \(quota)}\n  hosts:\n"
        for number in 1...hosts { text += "    kv\(number): 10.0.0.\(number)\n" }
        return text
    }

    private let folder = temporaryFolder("conductor")
    private let backend = RememberingBackend()
    private let keeper: HostKeeper

    init() throws {
        keeper = HostKeeper(
            AgentFolders(root: folder), HostRecord(name: "kv1", address: "10.0.0.1", port: 2378), backend)
        keeper.hostInventory = HostInventory(path: folder + "/inventory.yaml")
    }

    private func place(_ text: String, mode: UInt32 = 0o644) throws {
        try KeyFile.write(Array(text.utf8), to: folder + "/inventory.yaml", mode: mode)
    }

    private func inventory(_ text: String) throws -> Inventory { try InventoryFile.parse(Array(text.utf8), "test").inventory }

    private func claim(
        _ text: String, _ id: String = "a", epoch: UInt64 = 1, by caller: String = "agent:kv2", owner: String? = nil,
        kind: String = Converging.kind, arguments: [String] = [], takeOver: Bool = false
    ) throws -> AgentPB.ClaimResponse {
        let operation = AgentPB.Operation(
            id: id, kind: kind, arguments: arguments, owner: owner ?? caller, epoch: epoch, inventory: text)
        return try keeper.claim(
            AgentPB.ClaimRequest(cluster: "main", operation: operation, takeOver: takeOver), by: caller)
    }

    private func header(_ id: String = "a", _ epoch: UInt64 = 1) -> AgentPB.StepHeader {
        AgentPB.StepHeader(cluster: "main", operation: id, epoch: epoch)
    }

    private func write(_ ledger: Ledger?, by caller: String = "agent:kv2") throws -> AgentPB.StepResponse {
        try keeper.writeLedger(
            AgentPB.WriteLedgerRequest(header: header(), ledger: ledger?.json.text() ?? ""), by: caller)
    }

    private func render(_ text: String, by caller: String = "agent:kv2") throws -> AgentPB.StepResponse {
        try keeper.render(AgentPB.RenderRequest(header: header(), inventory: text, host: "kv1"), by: caller)
    }

    private func control(_ verbs: [AgentPB.ControlRequest.Verb], by caller: String = "agent:kv2") throws -> AgentPB.StepResponse {
        try keeper.control(AgentPB.ControlRequest(header: header(), verbs: verbs), by: caller)
    }

    /// Nil: it was allowed.
    private func refusal(_ body: () throws -> some Any) -> GRPCCode? {
        do {
            _ = try body()
            return nil
        } catch { return (error as? GRPCStatus)?.code }
    }

    private func active(_ text: String) throws -> Ledger {
        var ledger = Ledger.pending(try inventory(text), token: "main-1")
        ledger.state = .active
        for index in ledger.members.indices { ledger.members[index].wasStarted = true }
        return ledger
    }

    @Test func `an agent may claim this host only for the file that is on it`() throws {
        let text = Self.text(1)
        #expect(refusal { try claim(text) } == .permissionDenied, "there is no file")
        try place(text, mode: 0o666)
        #expect(refusal { try claim(text) } == .permissionDenied, "anybody could have written it")
        try place(text)
        #expect(refusal { try claim(Self.text(1, "2GiB")) } == .permissionDenied, "another digest")
        #expect(refusal { try claim(Self.text(2)) } == .permissionDenied, "another generation")
        #expect(refusal { try claim(text, by: "agent:kv9") } == .permissionDenied, "no host of it")
        #expect(refusal { try claim(text, owner: "agent:kv3") } == .permissionDenied, "in another's name")
        #expect(refusal { try claim(text, kind: "apply") } == .permissionDenied)
        #expect(refusal { try claim(text, arguments: ["--override=DISK"]) } == .permissionDenied, "nothing is overridden")
        #expect(try claim("# the same\n" + text).isGranted, "texts may differ")
    }

    @Test func `a step is refused as soon as the file here is another one`() throws {
        let text = Self.text(1)
        try place(text)
        #expect(try claim(text).isGranted)
        let pending = Ledger.pending(try inventory(text), token: "main-1")
        #expect(try write(pending).isChanged)
        try place(Self.text(2, "2GiB"))
        #expect(refusal { try render(text) } == .permissionDenied)
        #expect(refusal { try control([.start]) } == .permissionDenied)
        #expect(refusal { try write(pending) } == .permissionDenied)
        try place(text)
        #expect(refusal { try render(Self.text(1, "2GiB")) } == .permissionDenied, "nor is another one written")
        #expect(try render(text).isChanged)
        #expect(refusal { try render(text, by: "agent:kv3") } == .permissionDenied, "it is kv2's operation")
    }

    @Test func `an agent takes nobody out, sets nothing aside, and stops nothing`() throws {
        let text = Self.text(1)
        try place(text)
        #expect(try claim(text).isGranted)
        var ledger = try active(text)
        #expect(try write(ledger).isChanged)
        #expect(refusal { try write(nil) } == .permissionDenied)
        let third = ledger.members.removeLast()
        ledger.generation += 1
        #expect(refusal { try write(ledger) } == .permissionDenied)
        ledger.members += [third, Ledger.Member(name: "kv7", peerURL: "https://10.0.0.7:2380")]
        #expect(refusal { try write(ledger) } == .permissionDenied, "kv7 is not in the file")
        for verb in [AgentPB.ControlRequest.Verb.stop, .disable, .mask, .pause, .resume] {
            #expect(refusal { try control([verb]) } == .permissionDenied)
        }
        #expect(backend.told.isEmpty)
        #expect(try control([.unmask, .enable]).isChanged && backend.told == ["unmask", "enable"])
        ledger.members.removeLast()
        ledger.members.removeFirst()
        #expect(try write(ledger, by: "operator").isChanged, "an operator may")
        #expect(refusal { try control([.unmask]) } == .permissionDenied, "this host is no member any more")
    }

    @Test func `no ledger is begun by agents where one was set aside`() throws {
        let text = Self.text(1)
        try place(text)
        let operation = AgentPB.Operation(id: "a", kind: "apply", owner: "root@x", epoch: 1, inventory: text)
        #expect(try keeper.claim(AgentPB.ClaimRequest(cluster: "main", operation: operation), by: "operator").isGranted)
        let ledger = Ledger.pending(try inventory(text), token: "main-1")
        #expect(refusal { try write(ledger) } == .permissionDenied, "it is the operator's operation")
        #expect(try write(ledger, by: "operator").isChanged)
        #expect(try write(nil, by: "operator").isChanged)
        #expect(try claim(text, "b", epoch: 2).heldBy?.id == "a")
        #expect(try claim(text, "a", epoch: 2, takeOver: true).heldBy?.id == "a", "nor does an agent take it over")
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header(), state: "done"), by: "operator")
        #expect(try claim(text, "a", epoch: 2).isGranted)
        let request = AgentPB.WriteLedgerRequest(header: header("a", 2), ledger: ledger.json.text())
        #expect(refusal { try keeper.writeLedger(request, by: "agent:kv2") } == .permissionDenied)
    }

    @Test func `agents take over from agents, and the earlier one can do nothing any more`() throws {
        let text = Self.text(1)
        try place(text)
        #expect(try claim(text).isGranted)
        #expect(try !claim(text, "b", epoch: 2, by: "agent:kv3").isGranted, "not without saying so")
        #expect(try !claim(text, "b", epoch: 1, by: "agent:kv3", takeOver: true).isGranted, "not with the same epoch")
        #expect(try claim(text, "b", epoch: 2, by: "agent:kv3", takeOver: true).isGranted)
        #expect(refusal { try control([.start]) } == .aborted)
        #expect(refusal { try keeper.release(AgentPB.ReleaseRequest(header: header(), state: "done"), by: "agent:kv2") } == .aborted)
        let end = AgentPB.ReleaseRequest(header: header("b", 2), state: "done")
        #expect(refusal { try keeper.release(end, by: "agent:kv2") } == .permissionDenied)
        #expect(try keeper.release(end, by: "agent:kv3").isChanged)
    }

    @Test func `a running server is to be restarted when its settings have changed, and only then`() throws {
        let (text, more, larger) = (Self.text(1), Self.text(1, hosts: 5), Self.text(2, "2GiB", hosts: 5))
        try place(text)
        #expect(try claim(text).isGranted)
        #expect(try write(try active(text)).isChanged)
        backend.process = 77
        #expect(try render(text).isChanged)
        func needs() throws -> Bool { try keeper.observe("main").needsRestart }
        #expect(try !needs(), "it was rendered before it was started")
        #expect(try control([.restart]).isChanged == false && backend.told.isEmpty, "there is nothing to restart it for")
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header(), state: "done"), by: "agent:kv2")

        func apply(_ text: String, _ epoch: UInt64, _ ledger: Ledger) throws {
            try place(text)
            #expect(try claim(text, epoch: epoch).isGranted)
            let header = header("a", epoch)
            _ = try keeper.writeLedger(
                AgentPB.WriteLedgerRequest(header: header, ledger: ledger.json.text()), by: "agent:kv2")
            let request = AgentPB.RenderRequest(header: header, inventory: text, host: "kv1")
            #expect(try keeper.render(request, by: "agent:kv2").isChanged)
            _ = try keeper.release(AgentPB.ReleaseRequest(header: header, state: "done"), by: "agent:kv2")
        }
        var ledger = try active(more)
        ledger.generation = 2
        try apply(more, 2, ledger)
        #expect(try !needs(), "who is a member a running server knows itself")
        ledger.generation = 3
        try apply(larger, 3, ledger)
        #expect(try needs())
        backend.process = 0
        #expect(try !needs(), "what is started now reads what is there")
        backend.process = 78
        #expect(try !needs())
    }

    @Test func `a step is an operator's in any operation, and an agent's in its own, while the file is what it was begun with`() throws {
        let text = Self.text(1)
        try place(text)
        #expect(refusal { try keeper.mayStep(header(), by: "agent:kv2") } == .failedPrecondition, "nothing was claimed")
        #expect(try claim(text).isGranted)
        #expect(refusal { try keeper.mayStep(header(), by: "agent:kv2") } == nil)
        #expect(refusal { try keeper.mayStep(header(), by: "operator") } == nil)
        #expect(refusal { try keeper.mayStep(header(), by: "agent:kv3") } == .permissionDenied)
        #expect(refusal { try keeper.mayStep(nil, by: "agent:kv2") } == .invalidArgument)
        #expect(refusal { try keeper.mayStep(header("b"), by: "agent:kv2") } == .aborted, "another operation")
        #expect(refusal { try keeper.mayStep(header("a", 0), by: "agent:kv2") } == .aborted, "an epoch that is over")
        try place(Self.text(2))
        #expect(refusal { try keeper.mayStep(header(), by: "agent:kv2") } == .permissionDenied)
        try place(text)
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header(), state: "done"), by: "agent:kv2")
        #expect(refusal { try keeper.mayStep(header(), by: "agent:kv2") } == .aborted)
        #expect(KeyFile.exists(keeper.folders.audit("main")), "refusals are in the audit log")
    }

    /// A slot of a program that says what it is. The path is new each time, the content is not.
    private func package(_ version: String) throws -> Slot {
        let path = "\(folder)/package-\(version)"
        try KeyFile.write(Array("#!/bin/sh\necho 'covey \(version) (etcd API 3.6.0)'\n".utf8), to: path, mode: 0o755)
        return try keeper.slots.install(package: path, now: 1) { _ in }
    }

    @Test func `an agent switches to the package's program alone, an operator to what is installed, and the member is to follow`() throws {
        let text = Self.text(1)
        try place(text)
        #expect(try claim(text).isGranted)
        let (old, new) = (try package("1.2.3"), try package("1.2.4"))
        keeper.packageProgram = "\(folder)/package-1.2.4"
        func activate(_ slot: String, by caller: String = "agent:kv2") throws -> AgentPB.StepResponse {
            try keeper.activateSlot(AgentPB.ActivateSlotRequest(header: header(), slot: slot), by: caller)
        }
        var unit = AgentPB.UnitState(active: "active", mainProcess: getpid())
        #expect(!keeper.needsOtherProgram("main", unit), "neither is in a slot")
        #expect(refusal { try activate(old.name) } == .permissionDenied, "not the package's")
        #expect(refusal { try activate("nowhere") } == .permissionDenied)
        #expect(refusal { try activate("") } == .permissionDenied, "nor back to what is in no slot")
        #expect(keeper.activeSlot("main") == nil)
        #expect(try activate(new.name).isChanged && keeper.activeSlot("main") == new.name)
        #expect(keeper.needsOtherProgram("main", unit), "what runs is not what is started next")
        unit.mainProcess = 0
        #expect(!keeper.needsOtherProgram("main", unit), "what is started now runs it")
        #expect(try !activate(new.name).isChanged)
        #expect(try activate(old.name, by: "operator").isChanged)
        #expect(refusal { try activate("nowhere", by: "operator") } == .failedPrecondition)
        #expect(keeper.linkTarget(keeper.folders.previousProgram("main")) == keeper.slots.path(new))
    }

    @Test func `an agent switches to upstream as installed where the file says so, and to a named program only when it is that one`() throws
    {
        let installed = Self.text(1) + "  server: {engine: etcd}\n"
        try place(installed)
        #expect(try claim(installed).isGranted)
        let slot = try package("1.2.3")
        func activate(_ slot: String, _ epoch: UInt64 = 1) throws -> AgentPB.StepResponse {
            try keeper.activateSlot(AgentPB.ActivateSlotRequest(header: header("a", epoch), slot: slot), by: "agent:kv2")
        }
        #expect(refusal { try activate(slot.name) } == .permissionDenied)
        #expect(try !activate("").isChanged)
        _ = try keeper.release(AgentPB.ReleaseRequest(header: header(), state: "done"), by: "agent:kv2")
        let named = Self.text(2) + "  server: {artifact: {file: /srv/covey, allowUnsigned: true}}\n"
        try place(named)
        #expect(try claim(named, epoch: 2).isGranted)
        #expect(refusal { try activate(slot.name, 2) } == .permissionDenied, "the package's was not sent")
        #expect(refusal { try activate("", 2) } == .permissionDenied)
    }

    @Test func `a file is read again when it changes, and what is wrong with it names the place`() throws {
        var file = HostInventory(path: folder + "/inventory.yaml")
        var isAnother = file.look()
        #expect(!isAnother && file.content == nil)
        try place(Self.text(1))
        isAnother = file.look()
        #expect(isAnother && file.content?.generation == 1)
        isAnother = file.look()
        #expect(!isAnother, "nothing has changed")
        try place(Self.text(1).replacing("quota", with: "quotas"))
        isAnother = file.look()
        guard case .broken(let lines) = file.state, isAnother else {
            Issue.record("it is broken")
            return
        }
        #expect(lines.count == 1 && lines[0].hasPrefix(folder + "/inventory.yaml:3:13: error:"), "\(lines)")
        unlink(folder + "/inventory.yaml")
        isAnother = file.look()
        #expect(isAnother && file.content == nil)
    }
}
