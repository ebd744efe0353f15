// Changing and listing roles and their permissions.

import Foundations
import GRPC
import MVCC
import Wire

extension AuthStore {
    package func roleAdd(name: String, into batch: inout StoreBatch) throws(GRPCStatus) {
        guard !name.isEmpty else { throw EtcdError.roleEmpty }
        let key = Bytes(name.utf8)
        guard roles[key] == nil else { throw EtcdError.roleAlreadyExist }
        storeRole(key, [], into: &batch)
        commitRevision(into: &batch)
    }

    /// Takes the role from all users as well; counts as one change.
    package func roleDelete(name: String, into batch: inout StoreBatch) throws(GRPCStatus) {
        let key = Bytes(name.utf8)
        if isEnabled && key == AuthStore.root { throw EtcdError.invalidAuthManagement }
        guard roles[key] != nil else { throw EtcdError.roleNotFound }
        removeRole(key, from: &batch)
        let holders = users.values.filter { $0.roles.contains(key) }
        for user in holders.sorted(by: { precedes($0.name, $1.name) }) {
            user.roles.removeAll { $0 == key }
            store(user, into: &batch)
        }
        commitRevision(into: &batch)
    }

    /// The list is sorted by key alone, so several ranges may start at one key. A grant replaces the type of the first
    /// element at or after its key when that is the same range; otherwise it is added.
    package func roleGrantPermission(
        name: String, permission: Permission?, into batch: inout StoreBatch
    ) throws(GRPCStatus) {
        guard let permission else { throw EtcdError.permissionNotGiven }
        if rules.checksGrantedRanges { try AuthStore.checkGrantedRange(permission) }
        let key = Bytes(name.utf8)
        guard var permissions = roles[key] else { throw EtcdError.roleNotFound }
        let at = permissions.firstIndex { $0.key.rawSpan.compare(permission.key.rawSpan) >= 0 } ?? permissions.endIndex
        if at < permissions.endIndex && permissions[at].key == permission.key
            && permissions[at].rangeEnd == permission.rangeEnd
        {
            permissions[at].permType = permission.permType
        } else {
            let behind = permissions.firstIndex { $0.key.rawSpan.compare(permission.key.rawSpan) > 0 }
            permissions.insert(permission, at: behind ?? permissions.endIndex)
        }
        storeRole(key, permissions, into: &batch)
        forgetPermissions()
        commitRevision(into: &batch)
    }

    /// A grant needs a key and, if a range, one that is not inverted. Also for the API, before anything is proposed.
    package static func checkGrantedRange(_ permission: Permission) throws(GRPCStatus) {
        guard grantsSomething(permission) else { throw EtcdError.invalidAuthManagement }
    }

    /// Old stores may hold grants on an empty key or an inverted range. They allow nothing; on 3.5.1 neither, as its
    /// recordings show.
    static func grantsSomething(_ permission: Permission) -> Bool {
        guard !permission.key.isEmpty else { return false }
        return permission.rangeEnd.isEmpty || permission.rangeEnd == [0] || precedes(permission.key, permission.rangeEnd)
    }

    package func roleRevokePermission(
        name: String, key: Bytes, rangeEnd: Bytes, into batch: inout StoreBatch
    ) throws(GRPCStatus) {
        let role = Bytes(name.utf8)
        guard let permissions = roles[role] else { throw EtcdError.roleNotFound }
        let rest = permissions.filter { $0.key != key || $0.rangeEnd != rangeEnd }
        guard rest.count < permissions.count else { throw EtcdError.permissionNotGranted }
        storeRole(role, rest, into: &batch)
        forgetPermissions()
        commitRevision(into: &batch)
    }

    /// The permissions of a role. The root role answers with the permission for everything that it stands for.
    package func rolePermissions(name: String) throws(GRPCStatus) -> [Permission] {
        let key = Bytes(name.utf8)
        guard let permissions = roles[key] else { throw EtcdError.roleNotFound }
        guard key == AuthStore.root else { return permissions }
        var everything = Permission()
        everything.permType = .readwrite
        everything.rangeEnd = [0]
        return [everything]
    }

    package func roleList() -> [String] { AuthStore.sortedNames(roles.keys) }
}
