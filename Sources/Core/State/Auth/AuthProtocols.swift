// What authentication needs from the System ring: password hashes and signed tokens.

import Foundations

/// bcrypt. Hashing and checking take tens of milliseconds by design, so the shell calls them on a thread of their own
/// wherever a client waits; only entries proposed by members older than 3.5 make the state machine hash by itself.
package protocol PasswordHasher: Sendable {
    /// A new hash with a new salt. Nil when the password cannot be hashed (longer than `passwordBytesMax`, or it holds
    /// a zero byte, which the system's crypt would take for the end).
    func hash(_ password: Bytes) -> Bytes?

    /// True when the hash was made from this password. The comparison takes the same time wherever they differ.
    func matches(_ password: Bytes, hash: Bytes) -> Bool
}

/// bcrypt reads no further than this many bytes of a password.
package let passwordBytesMax = 72

/// Signed tokens (JWT) instead of simple ones.
package protocol TokenSigner: Sendable {
    /// False when only a public key was given: tokens can be checked, not made.
    var canSign: Bool { get }

    /// A token that names the user and the auth revision, valid from `unixTime` (seconds) for the signer's time.
    func sign(user: Bytes, authRevision: UInt64, unixTime: Int64) -> Bytes?

    /// Who the token names, when its algorithm, signature and expiry are right.
    func verify(_ token: Bytes, unixTime: Int64) -> Identity?
}

/// Who asks, and the auth revision at which that was established. Travels in the header of a proposal.
package struct Identity: Equatable, Sendable {
    package var user: Bytes
    package var authRevision: UInt64

    package init(user: Bytes, authRevision: UInt64) {
        self.user = user
        self.authRevision = authRevision
    }

    /// No credentials.
    package static let anonymous = Identity(user: [], authRevision: 0)
}
