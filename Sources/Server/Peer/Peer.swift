// One other member: how messages reach it, and whether it is there.
//
//     a member      two streams it opened with us (writers), two we opened with it (readers), POSTs, one snapshot
//     a remote      POSTs only: somebody who asked before we knew it as a member, and must be answered

import Connections
import Foundations
import Linux
import PeerWire
import Raft

final class Peer {
    let id: MemberID
    unowned let transport: PeerTransport
    let isRemote: Bool
    var urls: URLRotation
    let counters: PeerCounters?

    private var appendWriter: StreamWriter?
    private var messageWriter: StreamWriter?
    private var readers: [StreamReader] = []
    private var pipeline: Pipeline!
    private var snapshot: SnapshotSender?
    private var prober: Prober?

    /// It was there and is not any more: the URLs at which nobody has listened since. Nil: it is there, or that is already told.
    private var refusals: [HTTPOrigin]?
    /// Monotonic; nil while it is not there.
    private(set) var activeSince: UInt64?

    init(_ id: MemberID, urls: [String], isRemote: Bool, _ transport: PeerTransport) {
        self.id = id
        self.transport = transport
        self.isRemote = isRemote
        self.urls = URLRotation(urls)
        counters = transport.settings.metrics.map { PeerCounters($0, local: transport.identity.member, remote: id) }
        pipeline = Pipeline(self)
        guard !isRemote else { return }
        counters?.known.set(1)
        readers = StreamKind.allCases.map { StreamReader($0, self) }
        prober = Prober(self)
        for reader in readers { reader.start() }
    }

    func update(_ texts: [String]) {
        guard texts != urls.texts else { return }
        urls = URLRotation(texts)
        for reader in readers { reader.urlsChanged() }
    }

    func stop() {
        for reader in readers { reader.stop() }
        let (writers, snapshot) = ([appendWriter, messageWriter], snapshot)
        (appendWriter, messageWriter, self.snapshot) = (nil, nil, nil)
        for writer in writers { writer?.close() }
        pipeline.stop()
        snapshot?.stop()
        prober?.stop()
        activeSince = nil
        counters?.active.set(0)
        counters?.known.set(0)
    }

    // MARK: Sending

    func send(_ message: Message) {
        invariant(message.kind != .snapshot, "a snapshot has a way of its own")
        if message.kind == .append, let writer = appendWriter {
            if write(message, writer) { return }
        }
        if let writer = messageWriter, write(message, writer) { return }
        if !pipeline.send(message) { lost() }
    }

    /// False when the stream is gone, and another way must be found.
    private func write(_ message: Message, _ writer: StreamWriter) -> Bool {
        switch writer.send(message) {
        case .sent(let bytes):
            counters?.sentBytes.increment(by: bytes)
            return true
        case .full:
            lost()
            return true
        case .gone: return false
        }
    }

    private func lost() {
        counters?.sentFailures.increment()
        if !isRemote { transport.reportUnreachable(id) }
    }

    func sendSnapshot(_ message: Message, _ database: any DatabaseSource) {
        guard snapshot == nil, let origin = urls.current else { return transport.reportSnapshot(id, ok: false) }
        let sender = SnapshotSender(self, message, database, origin)
        snapshot = sender
        sender.start()
    }

    func snapshotFinished(_ problem: String?) {
        snapshot = nil
        if let problem {
            transport.note(problem, id)
            transport.reportUnreachable(id)
        }
        transport.reportSnapshot(id, ok: problem == nil)
    }

    // MARK: Streams it opened

    func attach(_ kind: StreamKind, _ call: Call) {
        let writer = StreamWriter(kind, call, transport.server) { [weak self] in self?.detached($0) }
        let old: StreamWriter?
        switch kind {
        case .append: (old, appendWriter) = (appendWriter, writer)
        case .message: (old, messageWriter) = (messageWriter, writer)
        }
        guard let old else { return }
        old.close()
        transport.reportUnreachable(id)
    }

    private func detached(_ writer: StreamWriter) {
        if appendWriter === writer {
            appendWriter = nil
        } else if messageWriter === writer {
            messageWriter = nil
        } else {
            return
        }
        // What was under way is lost.
        transport.reportUnreachable(id)
    }

    var streamCount: Int { (appendWriter == nil ? 0 : 1) + (messageWriter == nil ? 0 : 1) }

    func heartbeat() {
        appendWriter?.sendLinkHeartbeat()
        messageWriter?.sendLinkHeartbeat()
    }

    // MARK: Whether it is there

    func readerChanged(_ reader: StreamReader, problem: String?) {
        if let problem {
            if !readers.contains(where: { $0.isConnected }) { becameInactive() }
            transport.note("stream \(reader.kind.rawValue): \(problem)", id)
        } else {
            becameActive()
        }
    }

    /// Where it should listen its host says that nobody does: once that is so at all its URLs its process is gone, which is told
    /// once. A host that is off or cut off says nothing, and is waited for.
    func refused(at url: HTTPOrigin) {
        guard var refusals else { return }
        if !refusals.contains(url) { refusals.append(url) }
        let isGone = urls.all.allSatisfy { refusals.contains($0) }
        self.refusals = isGone ? nil : refusals
        if isGone { transport.reportGone(id) }
    }

    func pipelineWorked() { if isRemote { becameActive() } }

    func pipelineFailed(_ problem: String) {
        counters?.sentFailures.increment()
        if isRemote { becameInactive() }
        transport.note(problem, id)
        if !isRemote { transport.reportUnreachable(id) }
    }

    private func becameActive() {
        guard activeSince == nil else { return }
        // The turn's time, never ahead of what others compare it with.
        activeSince = transport.loop.now
        refusals = nil
        counters?.active.set(1)
        transport.report("peer became active", [("remote-peer-id", "\(id)")])
    }

    private func becameInactive() {
        guard activeSince != nil else { return }
        activeSince = nil
        refusals = []
        counters?.active.set(0)
        counters?.disconnected.increment()
        transport.report("peer became inactive", [("remote-peer-id", "\(id)")])
    }
}
