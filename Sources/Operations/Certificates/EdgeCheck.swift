// Handshakes from one place to many ports, at the same time; each waits on a thread of its own.

import Foundations
import PKI
import Wire

enum EdgeCheck {
    /// With the certificates of a folder as the agent keeps it. In the order of the edges.
    static func shake(_ edges: [AgentPB.Edge], _ folder: String) async -> [AgentPB.Handshake] {
        await shake(edges) { edge in
            guard let role = AuthorityRole(rawValue: edge.role) else { return nil }
            return HandshakeProbe.of(role, folder)
        }
    }

    static func shake(
        _ edges: [AgentPB.Edge], _ probe: @escaping @Sendable (AgentPB.Edge) -> HandshakeProbe?
    ) async -> [AgentPB.Handshake] {
        await withTaskGroup(of: (Int, AgentPB.Handshake).self) { group in
            for (i, edge) in edges.enumerated() {
                group.addTask {
                    let result = await onOwnThread { () -> AgentPB.Handshake in
                        guard let probe = probe(edge) else {
                            return AgentPB.Handshake(failure: "there are no ports for \"\(edge.role)\"")
                        }
                        do throws(HandshakeProbe.Failure) {
                            let shown = try probe.shakePatiently(
                                edge.address, Int(clamping: edge.port), name: edge.name.isEmpty ? edge.address : edge.name)
                            return AgentPB.Handshake(
                                serial: Hexadecimal.encode(shown.serial), notAfter: shown.notAfter)
                        } catch { return AgentPB.Handshake(failure: error.description) }
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
