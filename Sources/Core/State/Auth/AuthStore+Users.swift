// Changing and listing users. The order of checks decides which error a client sees; it is etcd's.

import Foundations
import GRPC
import MVCC
import Wire

extension AuthStore {
    package func userAdd(
        name: String, password: String, hashedPassword: String, noPassword: Bool, into batch: inout StoreBatch
    ) throws(GRPCStatus) {
        guard !name.isEmpty else { throw EtcdError.userEmpty }
        let key = Bytes(name.utf8)
        guard users[key] == nil else { throw EtcdError.userAlreadyExist }
        let hash = noPassword ? [] : try passwordHash(password, hashedPassword)
        store(UserRecord(name: key, passwordHash: hash, roles: [], noPassword: noPassword), into: &batch)
        commitRevision(into: &batch)
    }

    package func userDelete(name: String, into batch: inout StoreBatch) throws(GRPCStatus) {
        let key = Bytes(name.utf8)
        if isEnabled && key == AuthStore.root { throw EtcdError.invalidAuthManagement }
        guard users[key] != nil else { throw EtcdError.userNotFound }
        removeUser(key, from: &batch)
        tokens.invalidate(user: key)
        commitRevision(into: &batch)
    }

    package func userChangePassword(
        name: String, password: String, hashedPassword: String, into batch: inout StoreBatch
    ) throws(GRPCStatus) {
        let key = Bytes(name.utf8)
        guard let user = users[key] else { throw EtcdError.userNotFound }
        if !user.noPassword { user.passwordHash = try passwordHash(password, hashedPassword) }
        store(user, into: &batch)
        tokens.invalidate(user: key)
        commitRevision(into: &batch)
    }

    package func userGrantRole(user name: String, role: String, into batch: inout StoreBatch) throws(GRPCStatus) {
        guard let user = users[Bytes(name.utf8)] else { throw EtcdError.userNotFound }
        let roleKey = Bytes(role.utf8)
        guard roleKey == AuthStore.root || roles[roleKey] != nil else { throw EtcdError.roleNotFound }
        guard !user.roles.contains(roleKey) else { return }
        user.roles.append(roleKey)
        user.roles.sort(by: precedes)
        store(user, into: &batch)
        commitRevision(into: &batch)
    }

    package func userRevokeRole(user name: String, role: String, into batch: inout StoreBatch) throws(GRPCStatus) {
        let key = Bytes(name.utf8)
        let roleKey = Bytes(role.utf8)
        if isEnabled && key == AuthStore.root && roleKey == AuthStore.root { throw EtcdError.invalidAuthManagement }
        guard let user = users[key] else { throw EtcdError.userNotFound }
        guard user.roles.contains(roleKey) else { throw EtcdError.roleNotGranted }
        user.roles.removeAll { $0 == roleKey }
        store(user, into: &batch)
        commitRevision(into: &batch)
    }

    /// Role names of a user, sorted.
    package func userRoles(name: String) throws(GRPCStatus) -> [String] {
        guard let user = users[Bytes(name.utf8)] else { throw EtcdError.userNotFound }
        return user.roles.map { String(decoding: $0, as: UTF8.self) }
    }

    package func userList() -> [String] { AuthStore.sortedNames(users.keys) }

    /// Names in byte order.
    static func sortedNames(_ names: some Sequence<Bytes>) -> [String] {
        names.sorted(by: precedes).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Members of 3.5 and later propose the hash (as base64 text); older ones propose the password, and every member
    /// hashes it with a salt of its own.
    private func passwordHash(_ password: String, _ hashedPassword: String) throws(GRPCStatus) -> Bytes {
        if !password.isEmpty && hashedPassword.isEmpty {
            // A password that cannot be hashed leaves a user nobody can log in as, on this member as on the proposer's.
            return hasher.hash(Bytes(password.utf8)) ?? []
        }
        guard let hash = Base64.decode(hashedPassword.utf8) else { throw EtcdError.noPasswordUser }
        return hash
    }
}
