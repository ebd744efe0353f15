// role add, delete, get, list, grant-permission, revoke-permission.

import CoveyClient
import Foundations
import Wire

enum RoleCommands {
    static func add(_ invocation: Invocation) async throws(CtlFailure) {
        let role = try invocation.onlyWord("role add command requires role name as its argument")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleAdd(AuthRoleAddRequest(name: role), session.options)
        }
        try session.show(.roleAdd(role: role, answer))
    }

    static func delete(_ invocation: Invocation) async throws(CtlFailure) {
        let role = try invocation.onlyWord("role delete command requires role name as its argument")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleDelete(AuthRoleDeleteRequest(role: role), session.options)
        }
        try session.show(.roleDelete(role: role, answer))
    }

    static func get(_ invocation: Invocation) async throws(CtlFailure) {
        let role = try invocation.onlyWord("role get command requires role name as its argument")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleGet(AuthRoleGetRequest(role: role), session.options)
        }
        try session.show(.roleGet(role: role, answer))
    }

    static func list(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("role list command requires no arguments")
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleList(AuthRoleListRequest(), session.options)
        }
        try session.show(.roleList(answer))
    }

    static func grantPermission(_ invocation: Invocation) async throws(CtlFailure) {
        let words = invocation.words
        guard words.count >= 3 else {
            throw .arguments(
                "role grant command requires role name, permission type, and key [endkey] as its argument")
        }
        let kinds: [String: Permission.Kind] = ["READ": .read, "WRITE": .write, "READWRITE": .readwrite]
        guard let kind = kinds[words[1].uppercased()] else {
            throw .arguments("invalid permission type: \(words[1])")
        }
        let range = try keyRange(Array(words[2...]), invocation)
        let permission = Permission(permType: kind, key: range.key, rangeEnd: range.end)
        let session = try await CtlSession(invocation)
        let request = AuthRoleGrantPermissionRequest(name: words[0], perm: permission)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleGrantPermission(request, session.options)
        }
        try session.show(.roleGrant(role: words[0], answer))
    }

    static func revokePermission(_ invocation: Invocation) async throws(CtlFailure) {
        let words = invocation.words
        guard words.count >= 2 else {
            throw .arguments("role revoke-permission command requires role name and key [endkey] as its argument")
        }
        let range = try keyRange(Array(words[1...]), invocation)
        let session = try await CtlSession(invocation)
        let request = AuthRoleRevokePermissionRequest(role: words[0], key: range.key, rangeEnd: range.end)
        let shownKey = ArgumentText.bytes(of: words[1])
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.auth.roleRevokePermission(request, session.options)
        }
        try session.show(.roleRevoke(role: words[0], key: shownKey, end: range.end, answer))
    }

    private static func keyRange(_ words: [String], _ invocation: Invocation) throws(CtlFailure) -> KeyRange {
        let isPrefix = invocation.values.bool("prefix")
        let isFromKey = invocation.values.bool("from-key")
        if isPrefix && isFromKey { throw .arguments("--from-key and --prefix flags are mutually exclusive") }
        // There is no empty key; what people mean is the first there can be.
        let key = words[0].isEmpty ? [0] : ArgumentText.bytes(of: words[0])
        guard words.count == 1 else {
            if isPrefix { throw .arguments("unexpected endkey argument with --prefix flag") }
            if isFromKey { throw .arguments("unexpected endkey argument with --from-key flag") }
            return KeyRange(key: key, end: ArgumentText.bytes(of: words[1]))
        }
        if isPrefix && words[0].isEmpty { return .prefix([]) }
        return isPrefix ? .prefix(key) : isFromKey ? .from(key) : .one(key)
    }
}
