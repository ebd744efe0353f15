// Maintenance.Snapshot: the store as a file, streamed. The image is made on another thread, piece by piece as the
// client takes it, so neither memory nor the member's thread feels its size.

import Foundations
import GRPC
import LMDBStore
import Linux
import State
import Wire

final class SnapshotStream: ServiceStream {
    private static let pieceBytes = 32 * 1024
    private static let piecesAhead = 32

    private let api: ClientAPI
    private let caller: Caller
    private let outlet: any StreamOutlet
    private var producer: SnapshotProducer?
    private var hasStarted = false
    private var startedAt: UInt64 = 0
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ outlet: any StreamOutlet) {
        self.api = api
        self.caller = caller
        self.outlet = outlet
    }

    func message(_ message: RawSpan) {
        guard !hasStarted else { return }
        hasStarted = true
        do throws(GRPCStatus) { _ = try api.requireAdmin(caller) } catch { return end(error) }
        api.member.whenStored { [weak self] in
            guard let self, !isOver else { return }
            producer = SnapshotProducer(api)
            startedAt = Linux.Clock.monotonic()
            more()
        }
    }

    private func more() {
        producer?.pieces(SnapshotStream.piecesAhead, of: SnapshotStream.pieceBytes) { [weak self] result in
            self?.take(result)
        }
    }

    private func take(_ result: Result<[SnapshotProducer.Piece], StoreError>) {
        guard !isOver else { return }
        switch result {
        case .failure(let error): end(GRPCStatus(.internal, "cannot read the store: \(error)"))
        case .success(let pieces):
            var queued = 0
            for piece in pieces {
                var response = SnapshotResponse()
                response.remainingBytes = UInt64(piece.remaining)
                response.blob = piece.bytes
                guard let waiting = outlet.send({ response.append(to: &$0) }) else { return cancelled() }
                queued = waiting
            }
            if pieces.isEmpty || pieces[pieces.count - 1].isLast { return end(.ok) }
            if queued > 1 << 20 { outlet.notifyWritable() } else { more() }
        }
    }

    func writable() { if !isOver { more() } }
    func halfClosed() {}

    func cancelled() {
        if !isOver, startedAt > 0 {
            api.member.families?.disk.backendSnapshotDurationSeconds.observe(nanoseconds: Linux.Clock.monotonic() - startedAt)
        }
        isOver = true
        producer = nil
    }

    private func end(_ status: GRPCStatus) {
        guard !isOver else { return }
        cancelled()
        outlet.finish(status)
    }
}

/// Makes pieces on the scanning thread.
final class SnapshotProducer {
    struct Piece: Sendable {
        var bytes: Bytes
        var remaining: Int
        var isLast: Bool
    }

    /// The image is used on the scanning thread only, and let go there or, when the stream has ended, anywhere.
    private final class Box: @unchecked Sendable {
        var image: SnapshotImage?
    }

    private let box = Box()
    private let api: ClientAPI

    init(_ api: ClientAPI) { self.api = api }

    func pieces(_ count: Int, of bytes: Int, _ done: @escaping (Result<[Piece], StoreError>) -> Void) {
        let store = api.member.store
        let box = box
        api.scans.run(api.member.loop, { SnapshotProducer.take(store, box, count, bytes) }, done)
    }

    private static func take(_ store: LMDBStore, _ box: Box, _ count: Int, _ bytes: Int) -> Result<[Piece], StoreError> {
        do throws(StoreError) {
            if box.image == nil { box.image = try store.snapshot() }
        } catch { return .failure(error) }
        guard let image = box.image else { return .success([]) }
        return .success(take(image, count, bytes))
    }

    /// The digest has a message of its own.
    private static func take(_ image: SnapshotImage, _ count: Int, _ bytes: Int) -> [Piece] {
        var pieces: [Piece] = []
        let digestBytes = image.fileBytes - image.imageBytes
        while pieces.count < count {
            let data = image.remainingBytes - digestBytes
            guard let piece = image.next(data > 0 ? min(bytes, data) : digestBytes) else { break }
            pieces.append(
                Piece(bytes: piece, remaining: max(0, image.remainingBytes - digestBytes), isLast: image.remainingBytes == 0))
        }
        return pieces
    }
}
