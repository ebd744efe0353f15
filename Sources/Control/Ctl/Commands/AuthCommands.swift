// auth enable, disable, status.

import CoveyClient
import Foundations
import GRPC
import Wire

enum AuthCommands {
    /// A root user without the root role gets it: nobody could switch authentication off again otherwise.
    static func enable(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("auth enable command does not accept any arguments")
        let session = try await CtlSession(invocation)
        let auth = session.client.auth
        do throws(ClientError) {
            do {
                _ = try await auth.enable(AuthEnableRequest(), session.options)
            } catch  where error.is(EtcdError.rootRoleNotExist) {
                _ = try await auth.roleAdd(AuthRoleAddRequest(name: "root"), session.options)
                _ = try await auth.userGrantRole(AuthUserGrantRoleRequest(user: "root", role: "root"), session.options)
                _ = try await auth.enable(AuthEnableRequest(), session.options)
            }
        } catch {
            throw CtlFailure(error)
        }
        session.console.line("Authentication Enabled")
    }

    static func disable(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("auth disable command does not accept any arguments")
        let session = try await CtlSession(invocation)
        _ = try await orFail { () async throws(ClientError) in
            try await session.client.auth.disable(AuthDisableRequest(), session.options)
        }
        session.console.line("Authentication Disabled")
    }

    static func status(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("auth status command does not accept any arguments")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.status(AuthStatusRequest(), session.options)
        }
        try session.show(.authStatus(answer))
    }
}
