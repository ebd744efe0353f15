// Users, roles, and logging in. Passwords are hashed and compared on a thread of their own: bcrypt takes tens of
// milliseconds by design.

import Connections
import Foundations
import GRPC
import Linux
import Passwords
import State
import Wire

extension ClientAPI {
    func addAuth() {
        let service = "/etcdserverpb.Auth/"
        addAdmin(service + "AuthEnable", RequestKind.authEnable)
        addAdmin(service + "AuthDisable", RequestKind.authDisable)
        addAdmin(service + "UserDelete", RequestKind.userDelete)
        addAdmin(service + "UserGrantRole", RequestKind.userGrantRole)
        addAdmin(service + "UserRevokeRole", RequestKind.userRevokeRole)
        addAdmin(service + "RoleAdd", RequestKind.roleAdd)
        addAdmin(service + "RoleDelete", RequestKind.roleDelete)
        addAdmin(service + "RoleRevokePermission", RequestKind.roleRevokePermission)
        addAdmin(service + "UserList", RequestKind.userList)
        addAdmin(service + "RoleList", RequestKind.roleList)
        addLookup(service + "UserGet", RequestKind.userGet)
        addLookup(service + "RoleGet", RequestKind.roleGet)
        add(service + "AuthStatus", AuthStatusRequest.self) { [unowned self] (_, _, reply) throws(GRPCStatus) in
            answer(
                reply,
                AuthStatusResponse(header: header(), enabled: state.auth.isEnabled, authRevision: state.auth.revision))
        }
        add(service + "RoleGrantPermission", AuthRoleGrantPermissionRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity = try requireAdmin(caller)
            try RequestChecks.roleGrantPermission(request)
            member.propose(RequestKind.roleGrantPermission, request.encoded().rawSpan, identity: identity, reply)
        }
        add(service + "UserAdd", AuthUserAddRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity = try requireAdmin(caller)
            var request = request
            if request.options?.noPassword == true || request.name.isEmpty {
                request.password = ""
                return member.propose(RequestKind.userAdd, request.encoded().rawSpan, identity: identity, reply)
            }
            try RequestChecks.password(request.password)
            withHash(of: request.password, reply) { [unowned self] hashed in
                request.hashedPassword = hashed
                request.password = ""
                member.propose(RequestKind.userAdd, request.encoded().rawSpan, identity: identity, reply)
            }
        }
        add(service + "UserChangePassword", AuthUserChangePasswordRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity = try requireAdmin(caller)
            var request = request
            if request.password.isEmpty && !request.hashedPassword.isEmpty {
                return member.propose(
                    RequestKind.userChangePassword, request.encoded().rawSpan, identity: identity, reply)
            }
            try RequestChecks.password(request.password)
            withHash(of: request.password, reply) { [unowned self] hashed in
                request.hashedPassword = hashed
                request.password = ""
                member.propose(
                    RequestKind.userChangePassword, request.encoded().rawSpan, identity: identity, reply)
            }
        }
        add(service + "Authenticate", AuthenticateRequest.self) {
            [unowned self] (_, request, reply) throws(GRPCStatus) in
            try authenticate(request, reply, attempt: 0)
        }
    }

    /// Requests for the administrator that need nothing but to be replicated.
    private func addAdmin(_ method: String, _ kind: UInt32) {
        add(method) { [unowned self] caller, message, reply in
            do throws(GRPCStatus) {
                let identity = try requireAdmin(caller)
                member.propose(kind, message, identity: identity, reply)
            } catch { member.respond(reply, .failure(error)) }
        }
    }

    /// Look-ups that everybody may make of what is theirs: checked when they are applied.
    private func addLookup(_ method: String, _ kind: UInt32) {
        add(method) { [unowned self] caller, message, reply in
            do throws(GRPCStatus) {
                let identity = try identify(caller)
                if state.auth.isEnabled && identity == .anonymous { throw EtcdError.userEmpty }
                member.propose(kind, message, identity: identity, reply)
            } catch { member.respond(reply, .failure(error)) }
        }
    }

    private func withHash(of password: String, _ reply: Reply, _ done: @escaping (String) -> Void) {
        let hasher = hasher
        passwords.run(member.loop, { hasher.hash(Bytes(password.utf8)) }) { [unowned self] hash in
            guard let hash else { return member.respond(reply, .failure(EtcdError.passwordTooLong)) }
            done(Base64.encode(hash))
        }
    }

    private func authenticate(_ request: AuthenticateRequest, _ reply: Reply, attempt: Int) throws(GRPCStatus) {
        let check = try state.auth.passwordCheck(for: request.name)
        let password = Bytes(request.password.utf8)
        let hasher = hasher
        passwords.run(member.loop, { hasher.matches(password, hash: check.hash) }) { [unowned self] matches in
            guard matches else { return member.respond(reply, .failure(EtcdError.authFailed)) }
            guard state.auth.revision == check.authRevision || attempt > 10 else {
                // Users changed while the password was compared: what was compared may no longer hold.
                do throws(GRPCStatus) { try authenticate(request, reply, attempt: attempt + 1) } catch {
                    member.respond(reply, .failure(error))
                }
                return
            }
            var random = SystemRandomNumberGenerator()
            let entry = InternalAuthenticateRequest(
                name: request.name, password: "", simpleToken: SimpleTokens.makePrefix(using: &random))
            member.propose(RequestKind.authenticate, entry.encoded().rawSpan, reply)
        }
    }
}
