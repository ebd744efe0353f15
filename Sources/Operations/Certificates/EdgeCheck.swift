// Handshakes from one place to many ports, at the same time; each waits on a thread of its own.

import Foundations
import Glibc
import Inventory
import Linux
import PKI
import Wire

enum EdgeCheck {
    /// A thread each, for as long as a handshake takes.
    static let edgesMax = 32
    /// Of another host's agent, with the identity of this one.
    static let agent = "agent"
    /// Only whether a packet gets there and back, because nobody listens yet.
    static let port = "port"

    /// From the agent's host: with the certificates its member has, or its own. In the order of the edges.
    static func shake(_ edges: [AgentPB.Edge], _ folders: AgentFolders, _ cluster: String) async -> [AgentPB.Handshake] {
        await shake(edges) { edge in
            if edge.role == agent {
                return HandshakeProbe(
                    trustedCA: folders.authority, certificate: folders.certificate, key: folders.key, speaksHTTP2: true)
            }
            guard let role = AuthorityRole(rawValue: edge.role) else { return nil }
            return HandshakeProbe.of(role, folders.tls(cluster))
        }
    }

    static func shake(
        _ edges: [AgentPB.Edge], _ probe: @escaping @Sendable (AgentPB.Edge) -> HandshakeProbe?
    ) async -> [AgentPB.Handshake] {
        await withTaskGroup(of: (Int, AgentPB.Handshake).self) { group in
            for (i, edge) in edges.enumerated() {
                group.addTask {
                    let result = await onOwnThread { () -> AgentPB.Handshake in
                        if edge.role == port {
                            let problem = PortReach.problem(edge.address, Int(clamping: edge.port))
                            return AgentPB.Handshake(failure: problem.map { $0 + resolved(edge.address) } ?? "")
                        }
                        guard let probe = probe(edge) else {
                            return AgentPB.Handshake(failure: "there are no ports for \"\(edge.role)\"")
                        }
                        do throws(HandshakeProbe.Failure) {
                            let shown = try probe.shakePatiently(
                                edge.address, Int(clamping: edge.port), name: edge.name.isEmpty ? edge.address : edge.name)
                            return AgentPB.Handshake(
                                serial: Hexadecimal.encode(shown.serial), notAfter: shown.notAfter)
                        } catch { return AgentPB.Handshake(failure: error.description + resolved(edge.address)) }
                    }
                    return (i, result)
                }
            }
            var all = [AgentPB.Handshake](repeating: AgentPB.Handshake(), count: edges.count)
            for await (i, result) in group { all[i] = result }
            return all
        }
    }
}

extension EdgeCheck {
    /// What a name means here, behind a failure: hosts that disagree about it look as if the other were wrong. Empty for an address.
    static func resolved(_ address: String) -> String {
        guard !AddressText.isIP(address) else { return "" }
        do throws(SystemError) {
            var known: [String] = []
            for found in try SocketAddress.resolve(host: address, port: "0").map(\.host) where !known.contains(found) {
                known.append(found)
            }
            return " (\(address) is \(known.joined(separator: ", ")) there)"
        } catch { return " (nobody there knows \(address): DNS, or /etc/hosts)" }
    }
}

/// Whether packets get to a port of another host and back. One on which nobody listens answers that it is closed; only a
/// firewall, or no way there, makes it silent.
enum PortReach {
    static let seconds = 2

    /// Nil: they do. Blocks.
    static func problem(_ host: String, _ port: Int) -> String? {
        do throws(SystemError) {
            guard let address = try SocketAddress.resolve(host: host, port: String(port)).first else { return "no such host" }
            let descriptor = try Socket.connect(address)
            defer { close(descriptor) }
            var wish = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            guard unsafe poll(&wish, 1, Int32(seconds * 1_000)) == 1 else { return "no answer within \(seconds) s" }
            let code = Socket.pendingError(descriptor)
            return code == 0 || code == ECONNREFUSED ? nil : SystemError("connect", host, code: code).reason
        } catch { return error.code == ECONNREFUSED ? nil : error.reason }
    }
}
