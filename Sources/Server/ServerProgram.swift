// `covey server`: from settings to a serving member, and back to a stopped one.
//
// Order of start: data directory and replay, client listeners bound, leadership, publication of the member's name; only
// when that is applied are clients served. Order of stop: listeners closed, calls drained, log and store written.

import Connections
import Foundations
import Glibc
import GRPC
import HTTP1
import Linux
import Passwords
import State

package struct ServerSettings: Sendable {
    package var member = Member.Settings()
    package var walDirectory: String?
    package var clientURLs = ["http://localhost:2379"]
    package var advertiseClientURLs = ["http://localhost:2379"]
    package var metricsURLs: [String] = []
    package var initialCluster: [(name: String, peerURLs: [String])] = []
    package var clusterToken = "etcd-cluster"
    package var bcryptCost = Bcrypt.costDefault
    package var tokenSeconds: Int64 = 300
    package var http = HTTPService.Settings()
    package var limits = GRPCServer.Limits()

    package init() {}
}

package enum ServerProgram {
    /// Runs until told to stop by a signal, or until the member must not go on. The exit code.
    package static func run(_ settings: ServerSettings, log: @escaping (String, [(String, String)]) -> Void) -> Int32 {
        let loop: EventLoop
        do throws(SystemError) { loop = try EventLoop() } catch {
            log("cannot start: \(error)", [])
            return 1
        }
        let running = RunningServer(settings, loop, log)
        guard running.start() else { return 1 }
        loop.run()
        return running.exitCode
    }
}

/// A server between start and stop. On the loop's thread.
final class RunningServer {
    private let settings: ServerSettings
    private let loop: EventLoop
    private let log: (String, [(String, String)]) -> Void
    private var member: Member?
    private var api: ClientAPI?
    private var http: HTTPService?
    private var server: GRPCServer?
    private var listeners: [Listener] = []
    private var signals: SignalWatch?
    private var isStopping = false
    private(set) var exitCode: Int32 = 0

    init(_ settings: ServerSettings, _ loop: EventLoop, _ log: @escaping (String, [(String, String)]) -> Void) {
        self.settings = settings
        self.loop = loop
        self.log = log
    }

    func start() -> Bool {
        do throws(SystemError) {
            // First of all: every thread made later inherits that these signals are blocked.
            signals = try SignalWatch(loop) { [weak self] signal in
                self?.log("received signal; shutting down", [("signal", "\(signal)")])
                self?.shutDown()
            }
        } catch {
            log("cannot start: \(error)", [])
            return false
        }
        let hasher = Bcrypt(cost: settings.bcryptCost)
        let member: Member
        do throws(BootError) {
            member = try Boot.member(
                settings: settings.member, walDirectory: settings.walDirectory,
                cluster: InitialCluster(
                    token: settings.clusterToken, members: settings.initialCluster, ownName: settings.member.name),
                stateSettings: { state in
                    state.lease.electionTimeout = Nanoseconds(settings.member.electionTimeout)
                    state.lease.minimumTTL = Lessor.Settings.minimumTTL(
                        electionTicks: Int(settings.member.electionTimeout / settings.member.heartbeat),
                        heartbeat: Nanoseconds(settings.member.heartbeat))
                    state.tokenTimeToLive = settings.tokenSeconds * .second
                },
                hasher: hasher, signer: nil, loop: loop, progress: { [log] in log($0, []) })
        } catch {
            log("cannot open the member: \(error)", [("data-dir", settings.member.dataDirectory)])
            return false
        }
        self.member = member
        member.report = log
        member.onHalt = { [weak self] reason in
            self?.log("the member stops: \(reason)", [])
            self?.exitCode = 1
            self?.shutDown()
        }
        let router = GRPCRouter()
        var limits = settings.limits
        limits.messageBytesMax = settings.member.maxRequestBytes + 524_288
        let server = GRPCServer(loop: loop, router: router, limits: limits)
        self.server = server
        let api = ClientAPI(member: member, server: server, hasher: hasher)
        self.api = api
        http = HTTPService(api, settings.http)
        do throws(SystemError) {
            for url in settings.clientURLs { try listen(url) }
        } catch {
            log("cannot listen: \(error)", [])
            return false
        }
        log(
            "starting member", [("member-id", "\(member.identity.member)"), ("cluster-id", "\(member.identity.cluster)")])
        member.start()
        api.publish(name: settings.member.name, clientURLs: settings.advertiseClientURLs)
        api.decideVersion()
        log("ready to serve client requests", [])
        return true
    }

    private func listen(_ url: String) throws(SystemError) {
        guard let target = ListenURL(url) else { throw SystemError("parse URL", url, code: EINVAL) }
        for address in try target.addresses() {
            let listener = try Listener(
                address, loop: loop, report: { [log] in log($0, []) },
                accepted: { [weak self] descriptor in
                    guard let server = self?.server else {
                        close(descriptor)
                        return
                    }
                    server.add(descriptor)
                })
            listeners.append(listener)
            log("serving client traffic insecurely; this is strongly discouraged!", [("address", "\(listener.address)")])
        }
    }

    private func shutDown() {
        guard !isStopping else { return }
        isStopping = true
        for listener in listeners { listener.stop() }
        listeners = []
        let timer = loop.schedule(after: 5_000_000_000) { [weak self] in self?.finish() }
        guard let server else { return finish() }
        server.drain { [weak self] in
            self?.loop.cancel(timer)
            self?.finish()
        }
    }

    private func finish() {
        member?.stop()
        server?.closeAll()
        loop.stop()
    }
}

/// Where to listen: scheme, host and port, or a path.
package struct ListenURL: Sendable, Equatable {
    package var scheme: String
    package var host: String
    package var port: String

    package init?(_ text: String) {
        guard let mark = text.range(of: "://") else { return nil }
        scheme = String(text[..<mark.lowerBound])
        guard ["http", "https", "unix", "unixs"].contains(scheme) else { return nil }
        let rest = text[mark.upperBound...]
        if scheme.hasPrefix("unix") {
            host = String(rest)
            port = ""
            return
        }
        guard let colon = rest.lastIndex(of: ":") else { return nil }
        let name = rest[..<colon]
        host = name.hasPrefix("[") ? String(name.dropFirst().dropLast()) : String(name)
        port = String(rest[rest.index(after: colon)...])
    }

    package var isSecure: Bool { scheme == "https" || scheme == "unixs" }

    package func addresses() throws(SystemError) -> [SocketAddress] {
        if scheme.hasPrefix("unix") {
            guard let address = SocketAddress.unix(host) else { throw SystemError("socket path", host, code: ENAMETOOLONG) }
            return [address]
        }
        var seen: [SocketAddress] = []
        for address in try SocketAddress.resolve(host: host, port: port, passive: true) where !seen.contains(address) {
            seen.append(address)
        }
        return seen
    }
}

extension String {
    /// The first place where `text` stands.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
