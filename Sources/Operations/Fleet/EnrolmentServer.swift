// `covey enroll --token`: for a short time the operator's machine answers hosts that join by a token typed there. It prints the
// lines to type and ends when every host has joined, or the time is over.
//
// The server shows a certificate of the agents' authority. A host asks for the authority first, without trusting anything,
// compares it with the pin in the line, and sends the token only to who has a certificate of that authority.

import Connections
import Foundations
import GRPC
import Glibc
import Inventory
import Linux
import PKI
import TLSEngine
import Wire

final class EnrolmentServer {
    /// What hosts verify, whatever address they reach the operator by.
    static let name = "covey-enrolment"

    private let loop: EventLoop
    private let server: GRPCServer
    private let tls: TLSContext
    private let listener: Listener
    private let authorities: FleetAuthorities
    private let tokens: EnrolmentTokens
    private let events: EventLines
    private var waiting: Set<String>
    private let hosts: [Inventory.Host]

    struct Refused: Error, CustomStringConvertible { var description: String }

    /// `listen`: ADDRESS:PORT, port 0 for any; `advertise`: how hosts reach it, when that is another address.
    static func run(
        _ authorities: FleetAuthorities, _ hosts: [Inventory.Host], listen: String, advertise: String, seconds: Int64,
        _ events: EventLines
    ) throws -> Int32 {
        let loop = try EventLoop()
        // Before any thread is made: they inherit what is blocked.
        let signals = try SignalWatch(loop) { _ in loop.stop() }
        defer { withExtendedLifetime(signals) {} }
        let server = try EnrolmentServer(loop, authorities, hosts, listen, events)
        for host in hosts {
            let token = try server.tokens.make(for: host.name, lifetimeSeconds: seconds, now: server.now)
            let place = advertise.isEmpty ? try server.place(for: host) : advertise
            Output.data(
                """
                # on \(host.name), as root, within \(CertificateNews.span(seconds)):
                covey agent join --server \(place) --host \(host.name) --token \(token) --ca-pin \
                \(AuthorityPin.of(authorities.agents.certificate))

                """)
        }
        loop.schedule(after: UInt64(seconds) * 1_000_000_000) { loop.stop() }
        loop.run()
        server.listener.stop()
        for name in server.waiting.sorted() { events.tell(name, "did not join") }
        return server.waiting.isEmpty ? 0 : 1
    }

    private init(
        _ loop: EventLoop, _ authorities: FleetAuthorities, _ hosts: [Inventory.Host], _ listen: String, _ events: EventLines
    ) throws {
        self.loop = loop
        self.authorities = authorities
        self.hosts = hosts
        self.events = events
        tokens = EnrolmentTokens(authorities.folder)
        waiting = Set(hosts.map(\.name))
        tls = try Self.context(authorities)
        let router = GRPCRouter()
        let server = GRPCServer(loop: loop, router: router)
        self.server = server
        guard let colon = listen.lastIndex(of: ":"),
            let address = try SocketAddress.resolve(
                host: String(listen[..<colon]), port: String(listen[listen.index(after: colon)...]), passive: true
            ).first
        else { throw Refused(description: "--listen \(listen) is no ADDRESS:PORT") }
        let tls = tls
        listener = try Listener(address, loop: loop) { descriptor in
            server.add(descriptor, tls: tls.makeServerSession(), grpcOnly: true)
        }
        tokens.removeOld(now: now)
        route(router)
    }

    private var now: Int64 { Int64(Clock.wall() / 1_000_000_000) }

    /// A fresh certificate each time; its key is on disk only while the files are read.
    private static func context(_ authorities: FleetAuthorities) throws -> TLSContext {
        let folder = authorities.folder.root + "/enrolment"
        let key = try PrivateKey.generate()
        let profile = CertificateProfile(
            commonName: name, hosts: [name], usages: [.server], now: authorities.now, validitySeconds: 86_400)
        try KeyFile.makeFolder(folder)
        try KeyFile.write(key.pem, to: folder + "/server.key", mode: 0o600)
        try KeyFile.write(try authorities.agents.issue(profile, for: key).pem, to: folder + "/server.crt", mode: 0o644)
        var configuration = TLSConfiguration.server(certificate: folder + "/server.crt", key: folder + "/server.key")
        configuration.minimumVersion = .tls13
        configuration.applicationProtocols = ["h2"]
        return try TLSContext(configuration)
    }

    /// The address this machine would use towards the host. No packet is sent.
    private func place(for host: Inventory.Host) throws -> String {
        let bound = listener.address
        var address = bound.host
        if AddressText.isWildcard(address), let there = try SocketAddress.resolve(host: host.address, port: "9").first {
            let descriptor = socket(there.family, Int32(SOCK_DGRAM.rawValue), 0)
            guard descriptor >= 0 else { throw SystemError("socket", host.address) }
            defer { close(descriptor) }
            let result = unsafe there.withKernelForm { bytes, count in
                unsafe connect(descriptor, bytes.assumingMemoryBound(to: sockaddr.self), count)
            }
            guard result == 0, let own = Socket.local(descriptor) else {
                throw SystemError("connect", host.address)
            }
            address = own.host
        }
        return "\(AddressText.inURL(address)):\(bound.port)"
    }

    // MARK: Answers

    private func route(_ router: GRPCRouter) {
        let authority = authorities.agents.certificate
        router.unary(RPC.Enrolment.authority.path) { [unowned self] context, _ in
            reply(context.call, AgentPB.EnrolmentAuthorityResponse(pem: authority.pem))
        }
        router.unary(RPC.Enrolment.join.path) { [unowned self] context, message in
            let request: AgentPB.JoinRequest
            do throws(WireError) { request = try AgentPB.JoinRequest(decoding: message) } catch {
                return server.finish(context.call, GRPCStatus(.invalidArgument, "\(error)"))
            }
            do throws(GRPCStatus) { reply(context.call, try join(request)) } catch {
                events.tell(request.host.prefix(63).filter { $0.isASCII && !$0.isNewline }, "refused: \(error.message)")
                server.finish(context.call, error)
            }
        }
    }

    private func reply(_ call: Call, _ message: some WireMessage) {
        var bytes: [UInt8] = []
        message.append(to: &bytes)
        server.reply(call, bytes)
    }

    private func join(_ request: AgentPB.JoinRequest) throws(GRPCStatus) -> AgentPB.JoinResponse {
        guard let host = hosts.first(where: { $0.name == request.host }) else {
            throw GRPCStatus(.permissionDenied, "\(EnrolmentTokens.Refusal.notValid)")
        }
        // A request that cannot be granted does not use the token up.
        let certificate: Certificate
        do throws(PKIError) { certificate = try authorities.issueAgent(host, request.request) } catch {
            throw GRPCStatus(.invalidArgument, "\(error)")
        }
        do throws(EnrolmentTokens.Refusal) { try tokens.redeem(request.token, for: host.name, now: now) } catch {
            throw GRPCStatus(.permissionDenied, "\(error)")
        }
        let record = HostRecord(name: host.name, address: host.address, port: HostRecord.defaultPort)
        events.tell(host.name, "joined: agent on \(host.address) port \(record.port)")
        waiting.remove(host.name)
        // The answer goes out first.
        if waiting.isEmpty { loop.schedule(after: 500_000_000) { [loop] in loop.stop() } }
        return AgentPB.JoinResponse(
            certificate: certificate.pem, authority: authorities.agents.certificate.pem, record: record.json.text())
    }
}
