// The host that conducts: it does what `covey apply` does, with the same plan, gates, claim and steps, under the identity of
// its agent. Nothing is overridden, nobody is attested dead.

import Flags
import Inventory
import Linux
import Wire

struct Conductor: Sendable {
    var content: HostInventory.Content
    var path: String
    var folders: AgentFolders
    var host: String
    /// What did not end before, by whichever agent.
    var resuming: AgentPB.Operation?
    /// Pause after each member that is restarted.
    var soak: Duration

    /// On a thread of its own, with a loop of its own; nil when all was done.
    func run() -> FleetFailure? {
        do {
            let loop = try EventLoop()
            let file = InventoryFile(path: path, inventory: content.inventory, warnings: [])
            let identity = FleetIdentity.ofAgent(folders, host, content.inventory.name)
            let fleet = try Fleet(file, content.text, identity, loop, soak: soak)
            let command = FleetCommand(
                name: Converging.kind, words: [], values: OptionValues(FleetCommands.membership), file: file)
            let resuming = resuming
            let outcome = Outcome()
            let mailbox = loop.mailbox
            let box = Held(loop)
            Task {
                var failure: FleetFailure?
                do throws(FleetFailure) {
                    _ = try await command.carryOut(
                        try command.wish(), Converging.kind, [], fleet, resuming: resuming)
                } catch { failure = error }
                let ended = failure
                mailbox.post {
                    outcome.failure = ended
                    box.loop.stop()
                }
            }
            loop.run()
            fleet.gateway.stop()
            fleet.agents.client.close()
            return outcome.failure
        } catch let error as FleetFailure { return error } catch { return FleetFailure(text: "\(error)") }
    }

    // Written and read on the conductor's thread.
    private final class Outcome: @unchecked Sendable { var failure: FleetFailure? }

    // Taken to its own thread only.
    private struct Held: @unchecked Sendable {
        let loop: EventLoop
        init(_ loop: EventLoop) { self.loop = loop }
    }
}
