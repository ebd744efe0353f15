// Users, roles, permissions: who may do what (apply-semantics 6, client-semantics 11).
//
// Everything here is replicated: changes happen only when their log entry is applied, with the same checks in the same
// order on every member, and each counts the auth revision. A proposal carries the revision at which it was checked; an
// older one is refused, so a permission that was taken away cannot be used by a request that was under way. The
// revision must therefore be equal on all members at every index: a change that one member refuses and another accepts
// would divide them for good.
//
// Checks are cheap: a user's permissions are merged into two interval sets when first needed and kept until a change.
// Owned by one thread.

import Foundations
import GRPC
import MVCC
import Wire

package final class AuthStore {
    /// Where releases differ about the same log entry. All members of a cluster must agree.
    package struct Rules: Sendable {
        /// Refuse to grant on an empty key or an inverted range (3.4.25, 3.5.8 and later).
        package var checksGrantedRanges = true
        /// Look into nested transactions and apply the full rule of put inside them (3.4.44, 3.5.30, 3.6.11 and later).
        package var checksNestedTransactions = true

        package init() {}

        package static let current = Rules()
        /// As 3.4.23 and 3.5.1 apply entries: for a cluster that still has such members.
        package static let before3530: Rules = {
            var rules = Rules()
            rules.checksGrantedRanges = false
            rules.checksNestedTransactions = false
            return rules
        }()
    }

    package enum Access: Sendable { case read, write }

    final class UserRecord {
        let name: Bytes
        var passwordHash: Bytes
        /// Sorted.
        var roles: [Bytes]
        var noPassword: Bool
        /// Nil until needed and after each change that could alter it.
        var permissions: (read: KeyIntervalSet, write: KeyIntervalSet)?

        init(name: Bytes, passwordHash: Bytes, roles: [Bytes], noPassword: Bool) {
            self.name = name
            self.passwordHash = passwordHash
            self.roles = roles
            self.noPassword = noPassword
        }

        var isRoot: Bool { roles.contains(AuthStore.root) }
    }

    static let root = Bytes("root".utf8)
    private static let enabledKey = Bytes("authEnabled".utf8)
    private static let revisionKey = Bytes("authRevision".utf8)

    package let rules: Rules
    package internal(set) var isEnabled = false
    package private(set) var revision: UInt64 = 1
    package var tokens: SimpleTokens

    /// Computes hashes for entries that carry a clear password.
    let hasher: any PasswordHasher
    /// Signed tokens instead of simple ones.
    let signer: (any TokenSigner)?
    var users: [Bytes: UserRecord] = [:]
    var roles: [Bytes: [Permission]] = [:]
    /// The user of the last check: requests come in runs of the same one, and this spares building a dictionary key.
    private var lastUser: UserRecord?

    package init(
        hasher: any PasswordHasher, signer: (any TokenSigner)? = nil, rules: Rules = .current,
        tokens: SimpleTokens = SimpleTokens()
    ) {
        self.hasher = hasher
        self.signer = signer
        self.rules = rules
        self.tokens = tokens
    }

    // MARK: on and off

    package func enable(into batch: inout StoreBatch) throws(GRPCStatus) {
        guard !isEnabled else { return }
        guard let user = users[AuthStore.root] else { throw EtcdError.rootUserNotExist }
        guard user.isRoot else { throw EtcdError.rootRoleNotExist }
        isEnabled = true
        forgetPermissions()
        batch.put(.auth, AuthStore.enabledKey, [1])
    }

    package func disable(into batch: inout StoreBatch) {
        guard isEnabled else { return }
        isEnabled = false
        tokens.removeAll()
        batch.put(.auth, AuthStore.enabledKey, [0])
        commitRevision(into: &batch)
    }

    // MARK: checks

    /// May `identity` touch these keys? The order of checks is observable (apply-semantics 6).
    package func check(
        _ identity: Identity, _ access: Access, key: RawSpan, rangeEnd: RawSpan
    ) throws(GRPCStatus) {
        guard isEnabled else { return }
        let user = try validUser(identity)
        guard !user.isRoot else { return }
        if user.permissions == nil { user.permissions = mergedPermissions(of: user) }
        guard let permissions = user.permissions else { unreachable("just set") }
        let allowed =
            switch access {
            case .read: permissions.read.contains(key: key, rangeEnd: rangeEnd)
            case .write: permissions.write.contains(key: key, rangeEnd: rangeEnd)
            }
        guard allowed else { throw EtcdError.permissionDenied }
    }

    package func check(_ identity: Identity, _ access: Access, key: Bytes, rangeEnd: Bytes = []) throws(GRPCStatus) {
        try check(identity, access, key: key.rawSpan, rangeEnd: rangeEnd.rawSpan)
    }

    /// Any existing user, with whatever roles.
    package func checkUser(_ identity: Identity) throws(GRPCStatus) {
        guard isEnabled else { return }
        _ = try validUser(identity)
    }

    /// Only users with the root role. Does not look at the auth revision.
    package func checkAdmin(_ identity: Identity) throws(GRPCStatus) {
        guard isEnabled else { return }
        guard !identity.user.isEmpty else { throw EtcdError.userEmpty }
        guard let user = users[identity.user] else { throw EtcdError.userNotFound }
        guard user.isRoot else { throw EtcdError.permissionDenied }
    }

    /// Looking at a user: root, or oneself.
    package func checkUserGet(_ identity: Identity, name: String) throws(GRPCStatus) {
        guard isEnabled, identity.user.isEmpty || identity.user != Bytes(name.utf8) else { return }
        try checkAdmin(identity)
    }

    /// Looking at a role: root, or one that has it.
    package func checkRoleGet(_ identity: Identity, role: String) throws(GRPCStatus) {
        guard isEnabled else { return }
        if let user = users[identity.user], user.roles.contains(Bytes(role.utf8)) { return }
        try checkAdmin(identity)
    }

    private func validUser(_ identity: Identity) throws(GRPCStatus) -> UserRecord {
        guard identity.authRevision != 0 else { throw EtcdError.userEmpty }
        guard identity.authRevision >= revision else { throw EtcdError.authOldRevision }
        if let lastUser, lastUser.name == identity.user { return lastUser }
        guard let user = users[identity.user] else { throw EtcdError.permissionDenied }
        lastUser = user
        return user
    }

    private func mergedPermissions(of user: UserRecord) -> (read: KeyIntervalSet, write: KeyIntervalSet) {
        var read: [KeyInterval] = []
        var write: [KeyInterval] = []
        for role in user.roles {
            for permission in roles[role] ?? [] where AuthStore.grantsSomething(permission) {
                let interval = KeyInterval(key: permission.key, rangeEnd: permission.rangeEnd)
                if permission.permType != .write { read.append(interval) }
                if permission.permType != .read { write.append(interval) }
            }
        }
        return (KeyIntervalSet(read), KeyIntervalSet(write))
    }

    // MARK: authenticating

    /// What is needed to check a password. The check itself takes long and belongs on another thread; afterwards the
    /// proposer compares `authRevision` with the store's and starts again when it moved.
    package struct PasswordCheck: Sendable {
        /// For an unknown user a hash that fits no password, so that both answers take the same time.
        package var hash: Bytes
        package var authRevision: UInt64
    }

    private static let hashOfNobody = Bytes("$2a$10$CwTycUXWue0Thq9StjUM0uJ8H7E7hV8uQ9vYlqm4nD1mZy7wqkM7S".utf8)

    package func passwordCheck(for name: String) throws(GRPCStatus) -> PasswordCheck {
        guard isEnabled else { throw EtcdError.authNotEnabled }
        guard let user = users[Bytes(name.utf8)] else {
            return PasswordCheck(hash: AuthStore.hashOfNobody, authRevision: revision)
        }
        guard !user.noPassword else { throw EtcdError.noPasswordUser }
        return PasswordCheck(hash: user.passwordHash, authRevision: revision)
    }

    /// Applies an authenticate entry: the password was checked by the proposer. A simple token becomes valid on every
    /// member; a signed one is made only where the client waits (`isAwaited`), since it needs no member's memory.
    package func authenticate(
        name: String, tokenPrefix: String, index: LogIndex, isAwaited: Bool, clock: Clock
    ) throws(GRPCStatus) -> String {
        guard isEnabled else { throw EtcdError.authNotEnabled }
        guard let user = users[Bytes(name.utf8)] else { throw EtcdError.authFailed }
        guard !user.noPassword else { throw EtcdError.noPasswordUser }
        guard let signer else {
            let token = "\(tokenPrefix).\(index)"
            tokens.assign(Bytes(token.utf8), to: user.name, now: clock.now)
            return token
        }
        guard isAwaited else { return "" }
        guard let token = signer.sign(user: user.name, authRevision: revision, unixTime: clock.unixTime) else {
            throw EtcdError.verifyOnlyKey
        }
        return String(decoding: token, as: UTF8.self)
    }

    /// Who presents this token; nil: nobody we know. A simple token counts as of the current auth revision. One that
    /// names an index not applied yet may still become valid: see `SimpleTokens.index`.
    package func identify(token: Bytes, clock: Clock) -> Identity? {
        if let signer { return signer.verify(token, unixTime: clock.unixTime) }
        return tokens.user(of: token, now: clock.now).map { Identity(user: $0, authRevision: revision) }
    }

    // MARK: persistence

    package func restore(_ view: any StoreView) {
        users.removeAll()
        roles.removeAll()
        tokens.removeAll()
        lastUser = nil
        isEnabled = false
        revision = 1
        view.get(.auth, AuthStore.enabledKey.rawSpan) { value in
            if let value { isEnabled = value.byteCount == 1 && value[byte: 0] == 1 }
        }
        view.get(.auth, AuthStore.revisionKey.rawSpan) { value in
            if let value, let stored = bigEndianNumber(value) { revision = stored }
        }
        view.scan(.authUsers, from: [], to: nil) { _, value in
            guard let user = try? User(decoding: value) else { unreachable("a stored user does not decode") }
            users[user.name] = UserRecord(
                name: user.name, passwordHash: user.password, roles: user.roles.map { Bytes($0.utf8) },
                noPassword: user.options?.noPassword ?? false)
            return true
        }
        view.scan(.authRoles, from: [], to: nil) { _, value in
            guard let role = try? Role(decoding: value) else { unreachable("a stored role does not decode") }
            roles[role.name] = role.keyPermission
            return true
        }
    }

    /// A store that was just created records the first revision.
    package func initialise(into batch: inout StoreBatch) {
        batch.put(.auth, AuthStore.revisionKey, bigEndian(revision))
    }

    func store(_ user: UserRecord, into batch: inout StoreBatch) {
        users[user.name] = user
        user.permissions = nil
        var message = User()
        message.name = user.name
        message.password = user.passwordHash
        message.roles = user.roles.map { String(decoding: $0, as: UTF8.self) }
        // Always written, also when it says nothing: some releases crash at a password change without it.
        var options = UserAddOptions()
        options.noPassword = user.noPassword
        message.options = options
        batch.put(.authUsers, user.name, message.encoded())
    }

    func removeUser(_ name: Bytes, from batch: inout StoreBatch) {
        users.removeValue(forKey: name)
        lastUser = nil
        batch.delete(.authUsers, name)
    }

    func storeRole(_ name: Bytes, _ permissions: [Permission], into batch: inout StoreBatch) {
        roles[name] = permissions
        var message = Role()
        message.name = name
        message.keyPermission = permissions
        batch.put(.authRoles, name, message.encoded())
    }

    func removeRole(_ name: Bytes, from batch: inout StoreBatch) {
        roles.removeValue(forKey: name)
        batch.delete(.authRoles, name)
    }

    func forgetPermissions() {
        for user in users.values { user.permissions = nil }
    }

    func commitRevision(into batch: inout StoreBatch) {
        revision += 1
        batch.put(.auth, AuthStore.revisionKey, bigEndian(revision))
    }
}
