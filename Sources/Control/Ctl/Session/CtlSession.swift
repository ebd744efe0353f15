// A command that talks to a cluster: a client, how answers look, and how long to wait for them.

import CoveyClient
import Flags
import Foundations
import Linux
import Wire

struct CtlSession: Sendable {
    var invocation: Invocation
    let settings: ConnectionSettings
    let client: Client
    var style: OutputStyle

    var console: Console { invocation.console }
    var values: OptionValues { invocation.values }

    /// Reads the environment, makes the client, and logs in when a user is given: a refusal is told apart from that of
    /// the request by its exit code.
    /// `logsIn`: false leaves it to the first request.
    init(_ invocation: Invocation, logsIn: Bool = true) async throws(CtlFailure) {
        var invocation = invocation
        try invocation.readEnvironment()
        self.invocation = invocation
        let settings = try ConnectionSettings(invocation)
        style = try invocation.style()
        self.settings = settings
        client = try settings.open()
        guard logsIn, try await !CtlSession.logIn(client, settings) else { return }
        invocation.console.logLine(
            "warn", "retrying of unary invoker failed",
            [("attempt", "0"), ("error", "rpc error: code = FailedPrecondition desc = etcdserver: authentication is not enabled")])
    }

    /// False: credentials were given, and the cluster does not ask for any.
    @discardableResult
    static func logIn(_ client: Client, _ settings: ConnectionSettings) async throws(CtlFailure) -> Bool {
        guard settings.credentials != nil, settings.token == nil else { return true }
        do {
            return try await client.authenticate(timeout: settings.dialTimeout > .zero ? settings.dialTimeout : .seconds(5))
        } catch {
            throw CtlFailure(.badConnection, "\(error)", advice: error.detail)
        }
    }

    /// Until the command time-out, counted from now.
    var deadline: Deadline { .after(invocation.duration("command-timeout")) }

    /// For a call that may take as long as a short command may.
    var options: CallOptions { CallOptions(deadline: deadline) }

    func options(to endpoint: String) -> CallOptions { CallOptions(deadline: deadline, endpoint: endpoint) }

    func show(_ reply: Reply) throws(CtlFailure) { console.out(try reply.rendered(style)) }
}

/// Runs a call and turns its failure into the command's.
func orFail<Answer: Sendable>(
    _ call: () async throws(ClientError) -> Answer
) async throws(CtlFailure) -> Answer {
    do {
        return try await call()
    } catch {
        throw CtlFailure(error)
    }
}

extension CtlFailure {
    init(_ error: ClientError, exit: Exit = .error) {
        self.init(exit, "\(error)", advice: error.detail)
    }
}
