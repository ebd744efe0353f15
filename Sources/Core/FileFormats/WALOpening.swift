// The first segment of a log that is made in one go: at a member's first start, or for a restored one.

import Foundations

extension WALEncoder {
    /// Identity and empty snapshot, then the entries, the state, and the mark that all of it is in a snapshot.
    package static func opening(
        _ identity: LogIdentity, _ entries: [LogEntry] = [], _ state: LogState? = nil, snapshot: LogSnapshot? = nil
    ) -> Bytes {
        var encoder = WALEncoder()
        var segment: Bytes = []
        appendChecksum(0, to: &segment)
        encoder.append(identity, to: &segment)
        encoder.append(LogSnapshot(), to: &segment)
        for entry in entries { encoder.append(entry, to: &segment) }
        if let state { encoder.append(state, to: &segment) }
        if let snapshot { encoder.append(snapshot, to: &segment) }
        return segment
    }
}
