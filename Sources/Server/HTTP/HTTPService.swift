// Everything plain HTTP asks of the client port: version, health, metrics, and the gateway. Cross-origin headers and the
// check of the Host header apply to all of it.

import Connections
import Foundations
import GRPC
import HTTP1
import JSON
import Linux
import State
import Wire

package final class HTTPService {
    package struct Settings: Sendable {
        /// `*`, or the origins that may call.
        package var origins: [String] = ["*"]
        /// `*`, or the host names that plain requests may name.
        package var hosts: [String] = ["*"]
        package var gateway = true
        package var arguments: [String] = []

        package init() {}
    }

    private unowned let api: ClientAPI
    private unowned let server: GRPCServer
    package let gateway: Gateway
    private let settings: Settings
    /// The text of /metrics.
    package var metrics: () -> String = { "" }
    /// Told the result of each check: of which page, which check, whether it passed.
    package var checked: (_ type: String, _ check: String, _ ok: Bool) -> Void = { _, _, _ in }
    package private(set) var healthSuccesses: UInt64 = 0
    package private(set) var healthFailures: UInt64 = 0

    package init(_ api: ClientAPI, _ settings: Settings = Settings()) {
        self.api = api
        self.settings = settings
        server = api.server
        gateway = Gateway(api)
        server.router.http = { [unowned self] request, call, peer in serve(request, call, peer) }
    }

    private func serve(_ request: HTTPRequest, _ call: Call, _ peer: PeerIdentity) {
        if !peer.isTLS, !settings.hosts.contains("*"), !settings.hosts.isEmpty {
            let host = HTTPService.hostName(request.header("host") ?? "")
            if !settings.hosts.contains(host) { return respond(call, .misdirected(host: host), []) }
        }
        let common = crossOrigin(request)
        if request.method == "OPTIONS" { return respond(call, PlainResponse(200, [], ""), common) }
        let path = request.path
        if path.hasPrefix("/"), case let clean = HTTPTarget.cleaned(path), clean != path {
            let query = HTTPTarget(request.target).map { $0.rawQuery.isEmpty ? "" : "?" + $0.rawQuery } ?? ""
            return respond(call, .moved(to: HTTPPercent.encode(clean.utf8, keeping: "/:@!$&'()*+,;=") + query, request.method), common)
        }
        if settings.gateway {
            if Gateway.isGatewayPath(path) { return gateway.serve(request, call, peer, common) }
            if path == "/v3" { return respond(call, .moved(to: "/v3/", request.method), common) }
        }
        observability(request, path) { [unowned self] response in respond(call, response ?? .notFound, common) }
    }

    /// The metrics listeners' part: health and metrics.
    package func serveObservability(_ request: HTTPRequest, _ call: Call, on server: GRPCServer) {
        observability(request, request.path) { response in
            let response = response ?? .notFound
            server.respond(call, status: response.status, headers: response.headers, body: Bytes(response.body.utf8))
        }
    }

    /// Nil: there is no such page.
    private func observability(_ request: HTTPRequest, _ path: String, _ done: @escaping (PlainResponse?) -> Void) {
        func get(_ body: () -> PlainResponse) -> PlainResponse { request.method == "GET" ? body() : .methodNotAllowed() }
        switch path {
        case "/version": return done(get { version() })
        case "/metrics":
            return done(PlainResponse(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], metrics()))
        case "/debug/vars": return done(get { variables() })
        case "/health":
            guard request.method == "GET" else { return done(.methodNotAllowed()) }
            return health(request, done)
        case "/livez": return checks("livez", HealthCheck.live, request, done)
        case "/readyz": return checks("readyz", HealthCheck.ready, request, done)
        default:
            for (prefix, all) in [("/livez/", HealthCheck.live), ("/readyz/", HealthCheck.ready)] where path.hasPrefix(prefix) {
                guard let check = HealthCheck(rawValue: String(path.dropFirst(prefix.count))), all.contains(check) else {
                    return done(nil)
                }
                return checks(String(prefix.dropFirst().dropLast()), [check], request, done)
            }
            done(nil)
        }
    }

    private func version() -> PlainResponse {
        let cluster = api.state.membership.version.map { "\($0)" } ?? "not_decided"
        return .json("{\"etcdserver\":\"\(api.member.settings.serverVersion)\",\"etcdcluster\":\"\(cluster)\"}")
    }

    private func health(_ request: HTTPRequest, _ done: @escaping (PlainResponse?) -> Void) {
        let serializable = request.queryValues("serializable").last == "true"
        let exclude = request.queryValues("exclude")
        // What fails already needs no read.
        let early = HealthEndpoint.reason(facts(nil), serializable: serializable, exclude: exclude)
        gather(linearizable: !serializable && early == nil) { [unowned self] facts in
            let reason = HealthEndpoint.reason(facts, serializable: serializable, exclude: exclude)
            if reason == nil { healthSuccesses += 1 } else { healthFailures += 1 }
            done(HealthEndpoint.response(reason: reason))
        }
    }

    private func checks(
        _ type: String, _ checks: [HealthCheck], _ request: HTTPRequest, _ done: @escaping (PlainResponse?) -> Void
    ) {
        guard request.method == "GET" else { return done(.methodNotAllowed()) }
        let excluded = request.queryValues("exclude")
        let left = checks.filter { !excluded.contains($0.rawValue) }
        let verbose = !request.queryValues("verbose").isEmpty
        gather(linearizable: left.contains(.linearizableRead)) { [unowned self] facts in
            for check in left { checked(type, check.rawValue, check.failure(facts) == nil) }
            done(HealthCheck.response(left, facts, verbose: verbose))
        }
    }

    private func gather(linearizable: Bool, _ done: @escaping (HealthFacts) -> Void) {
        guard linearizable else { return done(facts(nil)) }
        api.member.linearizable { [unowned self] failure in done(facts(failure?.message)) }
    }

    private func facts(_ linearizableRead: String?) -> HealthFacts {
        let alarms: [HealthFacts.AlarmKind] = api.state.alarms.list().map { alarm in
            alarm.type == .nospace ? .noSpace : alarm.type == .corrupt ? .corrupt : .unknown
        }
        let stopped = api.member.isStopped ? EtcdError.stopped.message : nil
        return HealthFacts(
            alarms: alarms, hasLeader: api.member.hasLeader, isLearner: api.member.isLearner, serializableRead: stopped,
            linearizableRead: stopped ?? linearizableRead)
    }

    private func variables() -> PlainResponse {
        var writer = JSONWriter()
        writer.beginArray()
        for argument in settings.arguments { writer.string(argument) }
        writer.endArray()
        let arguments = String(decoding: writer.bytes, as: UTF8.self)
        let id = api.member.identity.member
        let role =
            switch api.member.raftRole {
            case .follower: "StateFollower"
            case .preCandidate: "StatePreCandidate"
            case .candidate: "StateCandidate"
            case .leader: "StateLeader"
            }
        let progress = api.member.peerStatus.map { peer in
            "\"\(peer.id)\":{\"match\":\(peer.match),\"next\":\(peer.next),\"state\":\"\(peer.state)\"}"
        }
        let raft =
            "{\"id\":\"\(id)\",\"term\":\(api.member.term),\"vote\":\"\(api.member.vote)\",\"commit\":\(api.member.committed),"
            + "\"lead\":\"\(api.member.leader)\",\"raftState\":\"\(role)\",\"applied\":\(api.state.appliedIndex),"
            + "\"progress\":{\(progress.joined(separator: ","))}}"
        return PlainResponse(
            200, [("Content-Type", "application/json; charset=utf-8")],
            "{\n\"cmdline\": \(arguments),\n\"file_descriptor_limit\": \(Process.descriptorLimit()),\n"
                + "\"memstats\": {\"Sys\":\(OwnProcess.bytes(.resident) ?? 0)},\n\"raft.status\": \(raft)\n}\n")
    }

    private func crossOrigin(_ request: HTTPRequest) -> [(name: String, value: String)] {
        let origin: String
        if settings.origins.contains("*") {
            origin = "*"
        } else if let asked = request.header("origin"), settings.origins.contains(asked) {
            origin = asked
        } else {
            return []
        }
        return [
            ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
            ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
            ("Access-Control-Allow-Origin", origin),
        ]
    }

    private func respond(_ call: Call, _ response: PlainResponse, _ common: [(name: String, value: String)]) {
        server.respond(
            call, status: response.status, headers: common + response.headers, body: Bytes(response.body.utf8))
    }

    /// Without port and brackets.
    private static func hostName(_ host: String) -> String {
        if host.hasPrefix("[") { return String(host.dropFirst().prefix { $0 != "]" }) }
        return String(host.prefix { $0 != ":" })
    }
}
