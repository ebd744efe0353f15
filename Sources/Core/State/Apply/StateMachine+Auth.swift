// Authentication requests of the log. All but authenticate and the two lookups need the root role.

import Foundations
import GRPC
import MVCC
import Wire

extension StateMachine {
    func dispatchAuth(
        _ kind: UInt32, _ body: RawSpan, _ identity: Identity, index: LogIndex, _ isAwaited: Bool,
        _ output: inout Bytes
    ) throws {
        switch kind {
        case RequestKind.authenticate:
            let request = try InternalAuthenticateRequest(decoding: body)
            let token = try auth.authenticate(
                name: request.name, tokenPrefix: request.simpleToken, index: index,
                isAwaited: isAwaited, clock: clock)
            if isAwaited { AuthenticateResponse(header: responseHeader, token: token).append(to: &output) }
            return
        case RequestKind.userGet:
            guard isAwaited else { return }
            let request = try AuthUserGetRequest(decoding: body)
            try auth.checkUserGet(identity, name: request.name)
            let roles = try auth.userRoles(name: request.name)
            AuthUserGetResponse(header: responseHeader, roles: roles).append(to: &output)
            return
        case RequestKind.roleGet:
            guard isAwaited else { return }
            let request = try AuthRoleGetRequest(decoding: body)
            try auth.checkRoleGet(identity, role: request.role)
            let permissions = try auth.rolePermissions(name: request.role)
            AuthRoleGetResponse(header: responseHeader, perm: permissions).append(to: &output)
            return
        default:
            break
        }
        try auth.checkAdmin(identity)
        switch kind {
        case RequestKind.authStatus:
            if isAwaited {
                AuthStatusResponse(header: responseHeader, enabled: auth.isEnabled, authRevision: auth.revision)
                    .append(to: &output)
            }
            return
        case RequestKind.userList:
            if isAwaited { AuthUserListResponse(header: responseHeader, users: auth.userList()).append(to: &output) }
            return
        case RequestKind.roleList:
            if isAwaited { AuthRoleListResponse(header: responseHeader, roles: auth.roleList()).append(to: &output) }
            return
        default:
            try changeAuth(kind, body, index: index)
            answer(isAwaited, &output)
        }
    }

    private func changeAuth(_ kind: UInt32, _ body: RawSpan, index: LogIndex) throws {
        switch kind {
        case RequestKind.authEnable:
            try auth.enable(into: &kv.batch)
        case RequestKind.authDisable:
            auth.disable(into: &kv.batch)
        case RequestKind.userAdd:
            let request = try AuthUserAddRequest(decoding: body)
            try auth.userAdd(
                name: request.name, password: request.password, hashedPassword: request.hashedPassword,
                noPassword: request.options?.noPassword ?? false, into: &kv.batch)
        case RequestKind.userDelete:
            try auth.userDelete(name: try AuthUserDeleteRequest(decoding: body).name, into: &kv.batch)
        case RequestKind.userChangePassword:
            let request = try AuthUserChangePasswordRequest(decoding: body)
            try auth.userChangePassword(
                name: request.name, password: request.password, hashedPassword: request.hashedPassword,
                into: &kv.batch)
        case RequestKind.userGrantRole:
            let request = try AuthUserGrantRoleRequest(decoding: body)
            try auth.userGrantRole(user: request.user, role: request.role, into: &kv.batch)
        case RequestKind.userRevokeRole:
            let request = try AuthUserRevokeRoleRequest(decoding: body)
            try auth.userRevokeRole(user: request.name, role: request.role, into: &kv.batch)
        case RequestKind.roleAdd:
            try auth.roleAdd(name: try AuthRoleAddRequest(decoding: body).name, into: &kv.batch)
        case RequestKind.roleDelete:
            try auth.roleDelete(name: try AuthRoleDeleteRequest(decoding: body).role, into: &kv.batch)
        case RequestKind.roleGrantPermission:
            let request = try AuthRoleGrantPermissionRequest(decoding: body)
            try auth.roleGrantPermission(name: request.name, permission: request.perm, into: &kv.batch)
        case RequestKind.roleRevokePermission:
            let request = try AuthRoleRevokePermissionRequest(decoding: body)
            try auth.roleRevokePermission(
                name: request.role, key: request.key, rangeEnd: request.rangeEnd, into: &kv.batch)
        default:
            throw Refusal.halt(.unknownRequest(index: index))
        }
    }
}
