// `covey agent join --server ... --token ... --ca-pin ...`, typed on the host: the authority first, then the token.

import CoveyClient
import Foundations
import GRPC
import Glibc
import JSON
import Linux
import PKI
import Wire

struct TokenJoin: Sendable {
    let folders: AgentFolders
    /// ADDRESS:PORT
    let server: String
    let host: String
    let token: String
    let pin: String

    func run() -> Int32 {
        do {
            let loop = try EventLoop()
            let result = Outcome(loop)
            let mailbox = loop.mailbox
            let join = self
            Task {
                let failure = await join.perform()
                mailbox.post {
                    result.failure = failure
                    result.loop.stop()
                }
            }
            loop.run()
            if let failure = result.failure { throw JoinCommand.Refused(description: failure) }
            return 0
        } catch {
            Output.error("covey agent join: \(error)\n")
            return 3
        }
    }

    // Written and read on the loop's thread.
    private final class Outcome: @unchecked Sendable {
        let loop: EventLoop
        var failure: String?
        init(_ loop: EventLoop) { self.loop = loop }
    }

    private func perform() async -> String? {
        do {
            let command = JoinCommand(folders: folders)
            let authority = try await fetchAuthority()
            let request = try command.prepare(host)
            let trusted = folders.authority + ".pending"
            try KeyFile.write(authority.pem, to: trusted, mode: 0o644)
            defer { unsafe unlink(trusted) }
            let answer: AgentPB.JoinResponse = try await ask(
                .init(trustedCA: trusted, serverName: EnrolmentServer.name), RPC.Enrolment.join,
                AgentPB.JoinRequest(token: token, host: host, request: Array(request.utf8)))
            guard let json = try? JSONValue(parsing: answer.record), let record = HostRecord(json), record.name == host else {
                return "the operator's machine did not say who this host is"
            }
            try command.notePending(record)
            let started = try command.take(
                certificate: answer.certificate, authority: answer.authority, pin: AuthorityPin.of(authority))
            Output.data("\(host) joined; its agent \(started ? "runs" : "starts with: covey agent")\n")
            return nil
        } catch let error as ClientError {
            return error.message
        } catch { return "\(error)" }
    }

    /// Nothing that is secret is said before the pin has been compared.
    private func fetchAuthority() async throws -> Certificate {
        let answer: AgentPB.EnrolmentAuthorityResponse = try await ask(
            .init(insecureSkipVerify: true), RPC.Enrolment.authority, AgentPB.EnrolmentAuthorityRequest())
        let authority = try Certificate.chain(pem: answer.pem, source: "what \(server) sent")[0]
        guard AuthorityPin.matches(pin, authority) else {
            throw JoinCommand.Refused(
                description:
                    "\(server) has the authority \(AuthorityPin.of(authority)), not the one of --ca-pin; the token was not sent. "
                    + "Compare the line with the one `covey enroll --token` printed")
        }
        return authority
    }

    private func ask<Request: WireMessage, Response: WireMessage>(
        _ tls: ClientConfiguration.TLS, _ method: MethodDescriptor, _ request: Request
    ) async throws -> Response {
        var configuration = ClientConfiguration(endpoints: ["https://\(server)"], timeout: .seconds(15))
        configuration.tls = tls
        configuration.checksHealth = false
        let client = try Client(configuration)
        defer { client.close() }
        // A token is used up by the first call that arrives.
        return try await client.unary(method, request, CallOptions(deadline: .after(.seconds(15)), isSafe: false))
    }
}
