// `covey status`: asks every member of a local cluster and shows what they say. The exit code is the verdict.

import Foundations
import Inventory
import Linux
import PKI
import Rendering
import TLSEngine

struct StatusCommand {
    let file: InventoryFile
    let folder: StateFolder
    let asJSON: Bool

    init(_ file: InventoryFile, stateFolder: String, asJSON: Bool) {
        self.file = file
        self.asJSON = asJSON
        folder = StateFolder(stateFolder, cluster: file.inventory.name)
    }

    func run() -> Int32 {
        do throws(UpCommand.Refused) {
            let report = try observe()
            Output.data(asJSON ? PrettyJSON.text(report.json) : report.text)
            return report.exitCode
        } catch {
            Output.error("covey status: \(error.text)\n")
            return error.code
        }
    }

    private func observe() throws(UpCommand.Refused) -> ClusterReport {
        let inventory = file.inventory
        guard inventory.supervisor == .processes else {
            throw UpCommand.Refused(
                code: 3, text: "\(file.path) is for hosts with systemd; this version shows local clusters (spec.supervisor: processes)")
        }
        guard KeyFile.exists(folder.ledger) else {
            throw UpCommand.Refused(code: 3, text: "there is no cluster \(inventory.name) in \(folder.root); make it: covey up \(file.path)")
        }
        guard let ledger = try Ledger.load(folder.ledger) else {
            throw UpCommand.Refused(code: 1, text: "\(folder.ledger) cannot be read as a ledger")
        }
        let now = Int64(Clock.wall() / 1_000_000_000)
        var certificates: [String: Int64] = [:]
        for host in inventory.voters {
            // What cannot be read is told as such by the report.
            let leaf = try? Certificate.load("\(folder.tls(host.name))/\(CertificateFiles.server)").first
            certificates[host.name] = leaf?.secondsLeft(now: now)
        }
        return ClusterReport(inventory, ledger, try ask(inventory.voters), certificates: certificates)
    }

    private func ask(_ hosts: [Inventory.Host]) throws(UpCommand.Refused) -> [String: MemberView] {
        let loop: EventLoop
        let gateway: Gateway
        do {
            loop = try EventLoop()
            gateway = try Gateway(
                loop, trustedCA: folder.client + "/ca.crt", certificate: folder.client + "/client.crt",
                key: folder.client + "/client.key")
        } catch { throw UpCommand.Refused(code: 1, text: "\(error)") }
        let result = Views(loop)
        let mailbox = loop.mailbox
        Task {
            var views: [String: MemberView] = [:]
            await withTaskGroup(of: (String, MemberView).self) { group in
                for host in hosts { group.addTask { (host.name, await MemberView.observe(host, gateway)) } }
                for await (name, view) in group { views[name] = view }
            }
            let seen = views
            mailbox.post { result.take(seen) }
        }
        loop.run()
        gateway.stop()
        return result.views
    }

    // Written on the loop's thread, read there after the loop has ended.
    private final class Views: @unchecked Sendable {
        private let loop: EventLoop
        private(set) var views: [String: MemberView] = [:]

        init(_ loop: EventLoop) { self.loop = loop }

        func take(_ views: [String: MemberView]) {
            self.views = views
            loop.stop()
        }
    }
}
