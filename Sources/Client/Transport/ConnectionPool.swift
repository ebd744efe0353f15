// The endpoints of a client and the calls it has open. Belongs to the loop's thread.
//
// Calls go round robin over the endpoints that are connected, those that say they serve first. A call that finds none waits
// until one is there, until its deadline, or, without a deadline, for as long as the configuration says.

import Connections
import Foundations
import GRPC
import Linux
import TLSEngine

package final class ConnectionPool {
    /// More calls than this waiting for a connection are refused.
    static let waitingMax = 65536
    /// Deadlines are met within this time.
    private static let sweepGrain: UInt64 = 5_000_000

    package let loop: EventLoop
    let dialler: GRPCDialler
    let configuration: ClientConfiguration
    /// Made when the first endpoint needs it, or before, when files were named: OpenSSL is slow to begin.
    private var madeTLS: TLSContext?
    var random: SeededRandom

    private var links: [EndpointLink] = []
    /// Endpoints that were asked for by name and are not among the cluster's.
    private var others: [EndpointLink] = []
    private var linkCount = 0
    private var next = 0
    private var calls: [UInt64: PendingCall] = [:]
    private var waiting: [UInt64] = []
    private var sweepAt = UInt64.max
    private var isClosed = false

    package init(loop: EventLoop, _ configuration: ClientConfiguration, tls: TLSContext?) {
        self.loop = loop
        self.configuration = configuration
        madeTLS = tls
        dialler = GRPCDialler(loop: loop)
        var system = SystemRandomNumberGenerator()
        random = SeededRandom(seed: configuration.seed ?? system.next())
        setEndpoints(configuration.endpoints)
    }

    package var endpointCount: Int { links.count }

    var checksHealth: Bool { configuration.checksHealth && links.count > 1 }

    func tls() throws(TLSError) -> TLSContext {
        if let madeTLS { return madeTLS }
        let made = try TLSContext(configuration.forTLS)
        madeTLS = made
        return made
    }

    // MARK: Endpoints

    /// Those that stay keep their connections; calls on the others end as if they were lost.
    func setEndpoints(_ endpoints: [String]) {
        let old = links
        links = endpoints.map { text in old.first { $0.endpoint.text == text } ?? makeLink(text) }
        for link in old where !links.contains(where: { $0 === link }) {
            link.close(GRPCStatus(.unavailable, "the endpoint \(link.endpoint.text) is no longer used"))
        }
        next = links.isEmpty ? 0 : Int.random(in: 0..<links.count, using: &random)
        if !calls.isEmpty { for link in links { link.want() } }
    }

    private func makeLink(_ text: String) -> EndpointLink {
        linkCount += 1
        return EndpointLink(index: linkCount, Endpoint(text), pool: self)
    }

    private func link(for endpoint: String) -> EndpointLink {
        if let known = links.first(where: { $0.endpoint.text == endpoint }) { return known }
        if let known = others.first(where: { $0.endpoint.text == endpoint }) { return known }
        let link = makeLink(endpoint)
        others.append(link)
        return link
    }

    func linkIsReady() {
        let ids = waiting
        waiting = []
        for id in ids { if let call = calls[id] { place(call) } }
    }

    // MARK: Calls

    package func submit(_ id: UInt64, _ request: CallRequest, _ sink: any CallSink) {
        let call = PendingCall(id: id, request, sink: sink, pool: self)
        calls[id] = call
        guard waiting.count < Self.waitingMax else {
            return call.end(GRPCStatus(.resourceExhausted, "too many calls wait for a connection"), detail: lastError)
        }
        noteDeadline(request.deadline.nanoseconds)
        place(call)
    }

    package func call(_ id: UInt64) -> PendingCall? { calls[id] }

    package func cancel(_ id: UInt64) { calls[id]?.end(EtcdError.contextCanceled, detail: "") }

    func forget(_ call: PendingCall) { calls[call.id] = nil }

    private func place(_ call: PendingCall) {
        if let endpoint = call.request.endpoint {
            let link = link(for: endpoint)
            link.want()
            if let connection = link.usable, call.start(on: connection, of: link) { return }
        } else {
            for link in links { link.want() }
            // A connection that takes no more is found out by trying; there are no more tries than links.
            for _ in links.indices {
                guard let link = pick(call.request.avoiding), let connection = link.usable else { break }
                if call.start(on: connection, of: link) { return }
            }
        }
        waiting.append(call.id)
        if call.request.deadline.isNever {
            noteDeadline(call.submitted &+ configuration.connectionWait.nanoseconds)
        }
    }

    /// The next in turn of the best there are.
    private func pick(_ avoiding: Int?) -> EndpointLink? {
        var best: (link: EndpointLink, rank: Int, at: Int)?
        for step in 0..<links.count {
            let at = (next + step) % links.count
            let link = links[at]
            guard link.usable != nil else { continue }
            let rank = (link.isServing ? 2 : 0) + (link.index == avoiding ? 0 : 1)
            if rank > best?.rank ?? -1 { best = (link, rank, at) }
        }
        if let best { next = (best.at + 1) % links.count }
        return best?.link
    }

    /// Why nothing is connected, as far as one endpoint can say it.
    private func lastError(for call: PendingCall) -> String {
        if let endpoint = call.request.endpoint { return link(for: endpoint).lastError }
        return lastError
    }

    private var lastError: String { links.first { !$0.lastError.isEmpty && $0.usable == nil }?.lastError ?? "" }

    // MARK: Time

    private func noteDeadline(_ deadline: UInt64) {
        guard deadline < sweepAt else { return }
        sweepAt = deadline
        let now = Clock.monotonic()
        loop.schedule(after: max(deadline > now ? deadline - now : 0, Self.sweepGrain)) { [weak self] in
            self?.sweep(deadline)
        }
    }

    /// Deadlines are rarely reached, so one timer stands for the earliest of them.
    private func sweep(_ deadline: UInt64) {
        guard deadline == sweepAt else { return }
        sweepAt = .max
        let now = Clock.monotonic()
        var earliest = UInt64.max
        for call in Array(calls.values) {
            if call.request.deadline.nanoseconds <= now {
                call.end(EtcdError.contextDeadlineExceeded, detail: call.isWaiting ? lastError(for: call) : "")
                continue
            }
            earliest = min(earliest, call.request.deadline.nanoseconds)
            guard call.isWaiting && call.request.deadline.isNever else { continue }
            let patience = call.submitted &+ configuration.connectionWait.nanoseconds
            if patience <= now {
                let reason = lastError(for: call)
                call.end(GRPCStatus(.unavailable, reason.isEmpty ? "no endpoint is connected" : reason), detail: "")
            } else {
                earliest = min(earliest, patience)
            }
        }
        waiting.removeAll { calls[$0] == nil }
        noteDeadline(earliest)
    }

    // MARK: The end

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        for call in Array(calls.values) { call.end(ClientError.closed.status, detail: "") }
        for link in links + others { link.close(ClientError.closed.status) }
        dialler.closeAll(ClientError.closed.status)
    }
}
