// user add, delete, get, list, passwd, grant-role, revoke-role.

import CoveyClient
import Foundations
import Linux
import Wire

enum UserCommands {
    static func add(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("user add command requires user name as its argument")
        var request = AuthUserAddRequest(name: word, options: UserAddOptions())
        var password: String? = invocation.values.text("new-user-password")
        if invocation.values.bool("no-password") {
            request.options = UserAddOptions(noPassword: true)
            password = ""
        } else if password?.isEmpty == true {
            password = nil
            if let colon = word.firstIndex(of: ":") {
                request.name = String(word[..<colon])
                password = String(word[word.index(after: colon)...])
            }
        }
        guard !request.name.isEmpty else { throw .arguments("empty user name is not allowed") }
        let session = try await CtlSession(invocation)
        if let password {
            request.password = password
        } else {
            request.password = try newPassword(of: request.name, invocation)
        }
        let answer = try await orFail { [request] () async throws(ClientError) in
            try await session.client.auth.userAdd(request, session.options)
        }
        try session.show(.userAdd(user: request.name, answer))
    }

    static func changePassword(_ invocation: Invocation) async throws(CtlFailure) {
        let user = try invocation.onlyWord("user passwd command requires user name as its argument")
        let session = try await CtlSession(invocation)
        let request = AuthUserChangePasswordRequest(name: user, password: try newPassword(of: user, invocation))
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userChangePassword(request, session.options)
        }
        try session.show(.userPassword(answer))
    }

    /// Typed twice, or the first word of standard input.
    private static func newPassword(of user: String, _ invocation: Invocation) throws(CtlFailure) -> String {
        let input = StandardInput()
        guard invocation.values.bool("interactive") else {
            let line = ArgumentText.text(of: input.readLine(partial: true) ?? [])
            return line.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? ""
        }
        let first = Passwords.ask("Password of \(user): ", invocation.console, input)
        let second = Passwords.ask("Type password of \(user) again for confirmation: ", invocation.console, input)
        guard first == second else { throw .arguments("given passwords are different") }
        return first
    }

    static func delete(_ invocation: Invocation) async throws(CtlFailure) {
        let user = try invocation.onlyWord("user delete command requires user name as its argument")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userDelete(AuthUserDeleteRequest(name: user), session.options)
        }
        try session.show(.userDelete(user: user, answer))
    }

    static func get(_ invocation: Invocation) async throws(CtlFailure) {
        let user = try invocation.onlyWord("user get command requires user name as its argument")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userGet(AuthUserGetRequest(name: user), session.options)
        }
        guard invocation.values.bool("detail") else { return try session.show(.userGet(user: user, answer)) }
        session.console.line("User: \(user)")
        for role in answer.roles {
            session.console.line("")
            let permissions = try await orFail { () async throws(ClientError) in
                try await session.client.auth.roleGet(AuthRoleGetRequest(role: role), session.options)
            }
            try session.show(.roleGet(role: role, permissions))
        }
    }

    static func list(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("user list command requires no arguments")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userList(AuthUserListRequest(), session.options)
        }
        try session.show(.userList(answer))
    }

    static func grantRole(_ invocation: Invocation) async throws(CtlFailure) {
        guard invocation.words.count == 2 else {
            throw .arguments("user grant command requires user name and role name as its argument")
        }
        let (user, role) = (invocation.words[0], invocation.words[1])
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userGrantRole(
                AuthUserGrantRoleRequest(user: user, role: role), session.options)
        }
        try session.show(.userGrant(user: user, role: role, answer))
    }

    static func revokeRole(_ invocation: Invocation) async throws(CtlFailure) {
        guard invocation.words.count == 2 else {
            throw .arguments("user revoke-role requires user name and role name as its argument")
        }
        let (user, role) = (invocation.words[0], invocation.words[1])
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.userRevokeRole(
                AuthUserRevokeRoleRequest(name: user, role: role), session.options)
        }
        try session.show(.userRevoke(user: user, role: role, answer))
    }
}
