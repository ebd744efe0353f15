// The agents of a cluster, as the operator's commands talk to them.

import CoveyClient
import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import Wire

struct FleetFailure: Error, Equatable, CustomStringConvertible {
    /// Of the process: 1 failed, 3 refused and nothing changed, 4 stopped midway, 5 held by another.
    var code: Int32 = 1
    var text: String
    /// A learner took longer than it may.
    var isOverBudget = false
    /// What the operation had begun was undone: nothing is left to go on with.
    var isTakenBack = false
    /// No answer in time, and nothing else is known to be wrong.
    var isLate = false
    var description: String { text }
}

/// Hosts that said nothing and are off by the operator's word: whoever waits for them each time waits in vain.
final class SilentHosts: Sendable {
    private let names = Mutex<Set<String>>([])

    func add(_ more: Set<String>) { names.withLock { $0.formUnion(more) } }
    func has(_ name: String) -> Bool { names.withLock { $0.contains(name) } }
}

struct Agents: Sendable {
    let silent = SilentHosts()
    let client: Client
    let endpoints: [String: String]
    let addresses: [String: String]
    /// What is shown to agents.
    let own: StatusCommand.Credentials

    /// As the operator.
    init(_ inventory: Inventory, _ folder: StateFolder) throws(FleetFailure) {
        try self.init(inventory, FleetIdentity.toAgents(folder))
    }

    init(_ inventory: Inventory, _ own: StatusCommand.Credentials) throws(FleetFailure) {
        self.own = own
        addresses = Dictionary(uniqueKeysWithValues: inventory.hosts.map { ($0.name, $0.address) })
        endpoints = Dictionary(
            uniqueKeysWithValues: inventory.hosts.map {
                ($0.name, "https://\(AddressText.inURL($0.address)):\(HostRecord.defaultPort)")
            })
        var configuration = ClientConfiguration(endpoints: endpoints.values.sorted(), timeout: .seconds(15))
        configuration.tls = .init(trustedCA: own.trustedCA, certificate: own.certificate, key: own.key)
        configuration.checksHealth = false
        do throws(ClientError) { client = try Client(configuration) } catch {
            throw FleetFailure(code: 3, text: "\(error)")
        }
    }

    func call<Request: WireMessage, Response: WireMessage>(
        _ host: String, _ method: MethodDescriptor, _ request: Request, seconds: Int = 15, isSafe: Bool? = nil
    ) async throws(FleetFailure) -> Response {
        guard let endpoint = endpoints[host] else {
            throw FleetFailure(code: 3, text: "\(host) is not in the inventory")
        }
        var options = CallOptions(deadline: .after(.seconds(seconds)), endpoint: endpoint)
        // Every step looks before it acts, so all may be asked again.
        options.isSafe = isSafe ?? true
        do throws(ClientError) { return try await client.unary(method, request, options) } catch {
            let detail = error.detail.isEmpty ? "" : " (\(error.detail))"
            let isExpired = "\(error.message)\(detail)".contains("expired") && error.code == .unavailable
            let remedy = isExpired ? "; its identity, or this one, has ended: \(AgentIdentity.wayBack(host))" : ""
            throw FleetFailure(
                text: "the agent of \(host): \(error.message)\(detail)\(remedy)",
                isLate: error.code == .deadlineExceeded && error.detail.isEmpty)
        }
    }

    /// Everything at the same time; nil where no agent answers. One that is there but has not got round to an answer (a starved
    /// machine) is asked once more, but by who looks again anyway.
    func observe(_ hosts: [String], _ cluster: String, isPatient: Bool = true) async -> [String: AgentPB.ObserveResponse] {
        await withTaskGroup(of: (String, AgentPB.ObserveResponse?).self) { group in
            for host in hosts {
                group.addTask {
                    if silent.has(host) || way(to: host) == .refused { return (host, nil) }
                    let request = AgentPB.ObserveRequest(cluster: cluster)
                    do throws(FleetFailure) {
                        return (host, try await call(host, RPC.Agent.observe, request, seconds: 4))
                    } catch {
                        // Who does not answer is told apart by its absence.
                        guard isPatient, error.isLate, way(to: host) == .open else { return (host, nil) }
                        return (host, try? await call(host, RPC.Agent.observe, request, seconds: 12))
                    }
                }
            }
            var all: [String: AgentPB.ObserveResponse] = [:]
            for await (host, seen) in group { all[host] = seen }
            return all
        }
    }

    private enum Way {
        /// Where nobody listens there is nothing to wait for.
        case refused
        case open
        /// All that is not certain.
        case unknown
    }

    private func way(to host: String) -> Way {
        guard let address = addresses[host], AddressText.isIP(address),
            let place = try? SocketAddress.resolve(host: address, port: String(HostRecord.defaultPort)).first
        else { return .unknown }
        do throws(SystemError) {
            let descriptor = try Socket.connect(place)
            defer { close(descriptor) }
            var wish = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            guard unsafe poll(&wish, 1, 200) == 1 else { return .unknown }
            let code = Socket.pendingError(descriptor)
            return code == 0 ? .open : code == ECONNREFUSED ? .refused : .unknown
        } catch { return error.code == ECONNREFUSED ? .refused : .unknown }
    }

    /// The same step on all, at the same time; the first failure counts, the others have done theirs.
    func all(_ hosts: [String], _ step: @escaping @Sendable (String) async throws(FleetFailure) -> Void)
        async throws(FleetFailure)
    {
        let results = await withTaskGroup(of: (String, Result<Void, FleetFailure>).self) { group in
            for host in hosts {
                group.addTask {
                    do throws(FleetFailure) {
                        try await step(host)
                        return (host, .success(()))
                    } catch { return (host, .failure(error)) }
                }
            }
            var all: [(String, Result<Void, FleetFailure>)] = []
            for await result in group { all.append(result) }
            return all
        }
        for (_, result) in results.sorted(by: { $0.0 < $1.0 }) {
            if case .failure(let error) = result { throw error }
        }
    }
}
