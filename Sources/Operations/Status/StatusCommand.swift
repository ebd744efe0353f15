// `covey status`: asks every voter of a cluster and shows what they say. The exit code is the verdict. Of a local cluster it
// knows the ledger and the certificates too; of hosts with systemd it knows what the members say.

import Foundations
import Inventory
import Linux
import PKI
import Rendering
import TLSEngine

struct StatusCommand {
    /// What the operator shows members, as paths.
    struct Credentials: Sendable, Equatable {
        var trustedCA: String
        var certificate: String
        var key: String
    }

    let file: InventoryFile
    let folder: StateFolder
    let asJSON: Bool
    let credentials: Credentials

    private var isLocal: Bool { file.inventory.supervisor == .processes }

    /// Empty paths: where they usually are.
    init(_ file: InventoryFile, stateFolder: String, asJSON: Bool, credentials given: Credentials) {
        self.file = file
        self.asJSON = asJSON
        folder = StateFolder(stateFolder, cluster: file.inventory.name)
        let usual =
            file.inventory.supervisor == .processes || KeyFile.exists(folder.client + "/client.crt")
            ? folder.client : HostFiles.configurationFolder(file.inventory.name) + "/client"
        credentials = Credentials(
            trustedCA: given.trustedCA.isEmpty ? usual + "/ca.crt" : given.trustedCA,
            certificate: given.certificate.isEmpty ? usual + "/client.crt" : given.certificate,
            key: given.key.isEmpty ? usual + "/client.key" : given.key)
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
        guard isLocal else {
            return ClusterReport(inventory, nil, try ask(inventory.voters), certificates: nil)
        }
        guard KeyFile.exists(folder.ledger) else {
            throw UpCommand.Refused(
                code: 3, text: "there is no cluster \(inventory.name) in \(folder.root); make it: covey up \(file.path)"
            )
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
        var report = ClusterReport(inventory, ledger, try ask(inventory.voters), certificates: certificates)
        if FolderLock.holder(of: folder.lock).isEmpty {
            report.reasons.append("no `covey up` runs it; start it: covey up \(file.path)")
        }
        return report
    }

    private func ask(_ hosts: [Inventory.Host]) throws(UpCommand.Refused) -> [String: MemberView] {
        let loop: EventLoop
        let gateway: Gateway
        do {
            loop = try EventLoop()
            gateway = try Gateway(loop, credentials)
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
