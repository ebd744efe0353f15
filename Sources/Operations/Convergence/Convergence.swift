// The agent's second way in: it looks at the file on its host, asks the agents of all hosts the file names, and does what
// `ConvergenceRules` say. What fails is tried again, later each time; a file that changes begins anew. A kill at any point
// leaves an open operation, which the agent that conducts then goes on with.

import Foundations
import Glibc
import Inventory
import JSON
import Linux
import PKI
import Systemd
import Wire

/// When what failed is tried again.
struct ConvergenceBackoff: Sendable, Equatable {
    static let secondsMax: UInt64 = 120
    private(set) var failures = 0

    /// Nanoseconds; `chance` is below one.
    mutating func failed(chance: Double) -> UInt64 {
        let seconds = min(Self.secondsMax, 2 << UInt64(min(failures, 10)))
        failures += 1
        // A quarter less to a quarter more, so that hosts do not try in step.
        return UInt64(Double(seconds) * 1_000_000_000 * (0.75 + chance / 2))
    }

    mutating func reset() { failures = 0 }
}

// Used on the loop's thread only, but for the tasks and threads that work for it.
final class Convergence: @unchecked Sendable {
    private let loop: EventLoop
    private let service: AgentService
    private let folders: AgentFolders
    private let host: String
    private let path: String
    private let soak: Duration

    private static let tickNanoseconds: UInt64 = 1_000_000_000
    /// Between questions to all agents: while they differ, and when all is well.
    private static let soon: UInt64 = 2_000_000_000
    private static let later: UInt64 = 15_000_000_000

    private var agents: (digest: String, all: Agents)?
    private var isLooking = false
    private var isConducting = false
    private var nextLook: UInt64 = 0
    private var nextTry: UInt64 = 0
    private var failure: String?
    private var backoff = ConvergenceBackoff()
    /// For the status line; empty without a file.
    private(set) var news = ConvergenceNews()

    init(_ loop: EventLoop, _ service: AgentService, _ folders: AgentFolders, _ host: String, path: String, soak: Duration) {
        self.loop = loop
        self.service = service
        self.folders = folders
        self.host = host
        self.path = path
        self.soak = soak
    }

    func begin() {
        let path = path
        service.onHost { keeper in keeper.hostInventory = HostInventory(path: path) }
        tick()
    }

    private func tick() {
        let mailbox = loop.mailbox
        service.onHost { [self] keeper in
            _ = keeper.hostInventory?.look()
            let state = keeper.hostInventory?.state ?? .none
            mailbox.post { self.saw(state) }
        }
        loop.schedule(after: Self.tickNanoseconds) { [weak self] in self?.tick() }
    }

    private func saw(_ state: HostInventory.State) {
        switch state {
        case .none:
            isNew("")
            tell(ConvergenceNews(isConducting: isConducting), nil)
        case .broken(let lines):
            isNew(lines.joined())
            let text = lines.joined(separator: "; ")
            tell(ConvergenceNews(news: "not used: \(text)", isConducting: isConducting), nil, broken: lines)
        case .good(let content):
            isNew(content.digest + " \(content.generation)")
            look(content)
        }
    }

    private var seen = ""

    /// Another file has another chance at once.
    private func isNew(_ what: String) {
        guard what != seen else { return }
        seen = what
        failure = nil
        backoff.reset()
        (nextLook, nextTry) = (0, 0)
    }

    // MARK: Looking

    private func look(_ content: HostInventory.Content) {
        guard !isLooking, !isConducting, Clock.monotonic() >= nextLook else { return }
        let inventory = content.inventory
        do throws(FleetFailure) {
            if agents?.digest != content.digest {
                agents?.all.client.close()
                agents = (content.digest, try Agents(inventory, FleetIdentity.toAgents(folders)))
            }
        } catch { return tell(ConvergenceNews(news: "waiting: \(error.text)"), inventory) }
        guard let all = agents?.all else { return }
        isLooking = true
        let (host, path, mailbox) = (host, path, loop.mailbox)
        Task {
            let answers = await all.observe(inventory.hosts.map(\.name), inventory.name, isPatient: false)
            let rules = ConvergenceRules(
                host: host, path: path, inventory: inventory, agents: answers.mapValues { ConvergenceRules.Agent($0) })
            let decision = rules.decide()
            mailbox.post { [self] in decided(decision, content) }
        }
    }

    private func decided(_ decision: ConvergenceRules.Decision, _ content: HostInventory.Content) {
        isLooking = false
        let now = Clock.monotonic()
        nextLook = now + Self.soon
        // It may have changed while all were asked.
        guard seen == content.digest + " \(content.generation)" else { return }
        switch decision {
        case .settled(let text):
            nextLook = now + Self.later
            forget()
            tell(ConvergenceNews(news: text), content.inventory)
        case .waiting(let text):
            tell(ConvergenceNews(news: "waiting: \(text)"), content.inventory)
        case .needsOperator(let text):
            forget()
            tell(ConvergenceNews(news: "waiting for an operator: \(text)", needsOperator: true), content.inventory)
        case .follows(let other):
            tell(ConvergenceNews(news: "\(other) makes it so"), content.inventory)
        case .conducts(let resuming):
            if now >= nextTry { return conduct(content, resuming) }
            if let failure { tell(ConvergenceNews(news: "failed, and will be tried again: \(failure)"), content.inventory) }
        }
    }

    private func forget() {
        failure = nil
        backoff.reset()
    }

    // MARK: Conducting

    private func conduct(_ content: HostInventory.Content, _ resuming: AgentPB.Operation?) {
        isConducting = true
        let what = resuming.map { "goes on with \($0.id)" } ?? "makes it so"
        tell(ConvergenceNews(news: "this host \(what)", isConducting: true), content.inventory)
        let work = Conductor(
            content: content, path: path, folders: folders, host: host, resuming: resuming, soak: soak)
        let mailbox = loop.mailbox
        BackgroundThread(name: "conductor") { [self] in
            let failure = work.run()
            mailbox.post { self.ended(failure, content) }
        }.detach()
    }

    private func ended(_ failure: FleetFailure?, _ content: HostInventory.Content) {
        isConducting = false
        nextLook = 0
        guard let failure else {
            forget()
            // Should the next look want it again at once, not in a circle.
            nextTry = Clock.monotonic() + Self.soon
            return tell(ConvergenceNews(news: "done, looking again"), content.inventory)
        }
        self.failure = failure.text
        nextTry = Clock.monotonic() + backoff.failed(chance: Double.random(in: 0..<1))
        tell(ConvergenceNews(news: "failed, and will be tried again: \(failure.text)"), content.inventory)
    }

    // MARK: Telling

    private func tell(_ next: ConvergenceNews, _ inventory: Inventory?, broken: [String] = []) {
        guard next != news else { return }
        let isText = next.news != news.news
        news = next
        let (path, host) = (path, host)
        service.onHost { keeper in
            keeper.convergence = next
            if let inventory { keeper.leaveNews(inventory, path, next) }
        }
        guard isText, !next.news.isEmpty else { return }
        let id =
            broken.isEmpty
            ? next.needsOperator ? MessageID.convergenceNeedsOperator : MessageID.convergenceNews
            : MessageID.inventoryFileRefused
        let lines = broken.isEmpty ? ["\(path): \(next.news)"] : broken
        let priority = !broken.isEmpty || next.needsOperator || failure != nil ? 4 : 5
        for line in lines {
            Output.error("\(EventLines.time(Clock.wall()))  \(inventory?.name ?? "-")  \(line)\n")
            JournalRecord.send(
                line, id: id, priority: priority,
                fields: [("COVEY_CLUSTER", inventory?.name ?? ""), ("COVEY_MEMBER", host)])
        }
    }
}

extension HostKeeper {
    /// Beside what the agent renders, for `covey status` on the host.
    func leaveNews(_ inventory: Inventory, _ path: String, _ news: ConvergenceNews) {
        guard inventory.hosts.contains(where: { $0.name == host.name }) else { return }
        let json = JSONValue.object([
            .init("file", .string(path)), .init("news", .string(news.news)),
            .init("needsOperator", .bool(news.needsOperator)), .init("isConducting", .bool(news.isConducting)),
        ])
        // Nothing depends on it: the journal and STATUS= say the same.
        try? makeConfigurationFolder(inventory.name)
        try? KeyFile.write(
            Array(PrettyJSON.text(json).utf8), to: folders.convergenceNews(inventory.name), mode: 0o644)
    }
}
