// `covey plan`: what `covey up` would do, without doing it; or what one setting does and who set it.

import Foundations
import Inventory
import PKI

struct PlanCommand {
    let file: InventoryFile
    let folder: StateFolder
    let explain: String

    init(_ file: InventoryFile, stateFolder: String, explain: String) {
        self.file = file
        self.explain = explain
        folder = StateFolder(stateFolder, cluster: file.inventory.name)
    }

    func run() -> Int32 {
        if !explain.isEmpty {
            do throws(Explanation.Failure) {
                Output.data(try Explanation.of(explain, in: file.inventory, file: file.path).text)
                return 0
            } catch {
                Output.error("covey plan: \(error)\n")
                return 2
            }
        }
        guard file.inventory.supervisor == .processes else {
            Output.error("covey plan: \(file.path) is for several hosts; their agents are asked: covey apply --dry-run -f \(file.path)\n")
            return 3
        }
        do throws(UpCommand.Refused) {
            let ledger = KeyFile.exists(folder.ledger) ? try Ledger.load(folder.ledger) : nil
            if KeyFile.exists(folder.ledger) && ledger == nil {
                throw UpCommand.Refused(
                    code: 3, text: "\(folder.ledger) cannot be read as a ledger; put it back from a copy")
            }
            do throws(LocalPlan.Refusal) {
                let plan = try LocalPlan.decide(file.inventory, ledger, UpCommand.found(file.inventory, folder))
                Output.data(plan.text(file.inventory, ledger))
                return 0
            } catch { throw UpCommand.Refused(code: 3, text: "\(error.what).\n\(error.next)") }
        } catch {
            Output.error("covey plan: \(error.text)\n")
            return error.code
        }
    }
}

extension LocalPlan {
    /// For people.
    func text(_ inventory: Inventory, _ ledger: Ledger?) -> String {
        var out = "Cluster \(inventory.name)"
        if let ledger {
            let change = ledger.digest == inventory.digest ? "unchanged" : "the inventory has changed"
            out +=
                "  id \(ledger.clusterID.isEmpty ? "not yet" : ledger.clusterID)  generation \(ledger.generation), \(change)"
        }
        out += "\n"
        let names = members.joined(separator: ", ")
        switch kind {
        case .bootstrap: out += "  + make it of \(names): authorities, certificates, a new token\n"
        case .resume: out += "  + go on with an interrupted bootstrap: \(names)\n"
        case .restart(let quarantine):
            if !quarantine.isEmpty {
                out += "  ! move aside what an interrupted bootstrap left of \(quarantine.joined(separator: ", "))\n"
            }
            out += "  + make it of \(names), with a new token\n"
        case .start: out += "  = start \(names) with their data\n"
        }
        for left in leftOut { out += "  ! leave out \(left.name): \(left.reason)\n" }
        return out + "Voters \(inventory.voters.count), quorum \(inventory.quorum), can lose \(inventory.tolerance)\n"
    }
}
