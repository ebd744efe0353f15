// Our end of a stream that a member opened with us: messages for it go into the answer to its GET, which never ends.
//
// Cost of a message: encoded once, straight into the connection's buffer behind the head of a chunk; all that a turn adds
// leaves in one write.

import Connections
import Foundations
import PeerWire
import Raft

enum StreamKind: String, CaseIterable {
    case append = "msgapp"
    case message = "message"
}

final class StreamWriter: CallObserver {
    /// What may wait for a member that reads slowly. More is lost, and consensus told: it goes back to probing.
    static let queueBytesMax = 64 << 20

    let kind: StreamKind
    let call: Call
    private let server: GRPCServer
    private var encoder = AppendStreamEncoder()
    private let closed: (StreamWriter) -> Void

    /// `closed` is called when the member goes, not for `close`.
    init(_ kind: StreamKind, _ call: Call, _ server: GRPCServer, closed: @escaping (StreamWriter) -> Void) {
        self.kind = kind
        self.call = call
        self.server = server
        self.closed = closed
        server.observe(call, self)
    }

    enum Outcome: Equatable {
        case sent(bytes: Int)
        case full
        case gone
    }

    func send(_ message: Message) -> Outcome {
        guard server.isOpen(call) else { return .gone }
        guard server.queuedBytes(call) < StreamWriter.queueBytesMax else { return .full }
        var bytes = 0
        server.sendPiece(call) { output in
            let start = output.count
            switch kind {
            case .append: encoder.append(message, to: &output)
            case .message: MessageStreamEncoder.append(message, to: &output)
            }
            bytes = output.count - start
        }
        return .sent(bytes: bytes)
    }

    /// A member that hears nothing for 5 s takes us for dead.
    func sendLinkHeartbeat() {
        // What waits will do as well.
        guard server.isOpen(call), server.queuedBytes(call) == 0 else { return }
        server.sendPiece(call) { output in
            switch kind {
            case .append: AppendStreamEncoder.appendLinkHeartbeat(to: &output)
            case .message: MessageStreamEncoder.appendLinkHeartbeat(to: &output)
            }
        }
    }

    func close() { server.abort(call) }

    func cancelled(_ call: Call) { closed(self) }
}
