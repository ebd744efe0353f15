import Raft

/// What the member sends by now, on a disk that writes at once.
func sent(by node: inout RaftNode) -> [Message] {
    var messages: [Message] = []
    while node.hasReady {
        let ready = node.ready()
        messages += ready.messages
        if let ticket = ready.ticket { node.persisted(through: ticket) }
    }
    return messages
}
