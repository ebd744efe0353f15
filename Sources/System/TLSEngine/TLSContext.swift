// Makes sessions. Looks at the files before each one: when they changed (by size, times or identity) all are read again as
// one unit; a set that does not fit together, half of a renewal for example, keeps the old one and says so, and is tried
// again when the files change next. Sessions in progress keep what they began with.

import CLinux
import Foundations
import Glibc
import Linux
import PKI

package final class TLSContext: Sendable {
    /// What a stat says about the files, in their order.
    private struct Stamp: Equatable, Sendable {
        var parts: [Int64] = []
    }

    private struct State: Sendable {
        var material: TLSMaterial
        var stamp: Stamp
        /// Files that could not be used: not read again until they change.
        var rejected: Stamp?
        /// The last reload's failure, nil after a good one.
        var failure: TLSError?
        var reloads = 0
    }

    package let configuration: TLSConfiguration
    private let files: [String]
    private let state: Mutex<State>
    private let report: @Sendable (TLSContextEvent) -> Void

    /// Reads the files; errors say which and why. `report` hears of reloads, on the thread that makes the session.
    package init(
        _ configuration: TLSConfiguration, report: @escaping @Sendable (TLSContextEvent) -> Void = { _ in }
    ) throws(TLSError) {
        self.configuration = configuration
        self.report = report
        files =
            ([configuration.certificateFile, configuration.keyFile, configuration.revocationFile]
            + configuration.trustedCAFiles).filter { !$0.isEmpty }
        let stamp = Self.stamp(files)
        let material = try TLSMaterial(configuration)
        state = Mutex(State(material: material, stamp: stamp))
    }

    /// For an accepted connection.
    package func makeServerSession() -> TLSSession {
        invariant(configuration.role == .server, "a server's context")
        return TLSSession(current(), host: nil, ticket: nil)
    }

    /// For a connection to `host` (a name or an address), which the server's certificate must be valid for.
    package func makeClientSession(host: String, ticket: TLSTicket? = nil) -> TLSSession {
        invariant(configuration.role == .client, "a client's context")
        return TLSSession(current(), host: configuration.serverName.isEmpty ? host : configuration.serverName, ticket: ticket)
    }

    /// The certificate shown to peers, for metrics and expiry warnings.
    package var certificate: Certificate? { state.withLock { $0.material.certificate } }

    /// How often new files have been taken.
    package var reloads: Int { state.withLock { $0.reloads } }

    /// Why the files on disk are not in use, if so.
    package var reloadFailure: TLSError? { state.withLock { $0.failure } }

    private func current() -> TLSMaterial {
        let (material, event) = state.withLock { state in (state.material, refresh(&state)) }
        guard let event else { return material }
        report(event)
        return state.withLock { $0.material }
    }

    private func refresh(_ state: inout State) -> TLSContextEvent? {
        let stamp = Self.stamp(files)
        guard stamp != state.stamp, stamp != state.rejected else { return nil }
        do throws(TLSError) {
            let material = try TLSMaterial(configuration)
            // Files that changed while they were read may not belong together: look again next time.
            state.stamp = Self.stamp(files) == stamp ? stamp : Stamp()
            state.material = material
            state.rejected = nil
            state.failure = nil
            state.reloads += 1
            return .reloaded
        } catch {
            state.rejected = stamp
            state.failure = error
            return .rejected(error)
        }
    }

    private static func stamp(_ files: [String]) -> Stamp {
        var stamp = Stamp()
        for file in files {
            var status = stat()
            guard unsafe stat(file, &status) == 0 else {
                stamp.parts += [-1]
                continue
            }
            stamp.parts += [
                Int64(bitPattern: UInt64(status.st_ino)), Int64(status.st_size), Int64(status.st_mtim.tv_sec),
                Int64(status.st_mtim.tv_nsec), Int64(status.st_ctim.tv_sec), Int64(status.st_ctim.tv_nsec),
            ]
        }
        return stamp
    }
}

package enum TLSContextEvent: Sendable, CustomStringConvertible {
    case reloaded
    /// The files changed and cannot be used; the old ones stay.
    case rejected(TLSError)

    package var description: String {
        switch self {
        case .reloaded: "certificates were read again"
        case .rejected(let error): "new certificate files are not used, the old ones stay: \(error)"
        }
    }
}
