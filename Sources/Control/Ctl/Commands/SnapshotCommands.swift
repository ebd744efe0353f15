// snapshot save, status, restore.

import CoveyClient
import FileFormats
import Flags
import Foundations
import Linux
import Wire

enum SnapshotCommands {
    // MARK: save

    /// Into `FILE.part` first; under its name the file is complete, its digest checked, and on the disk.
    static func save(_ invocation: Invocation) async throws(CtlFailure) {
        guard invocation.words.count == 1 else { throw .arguments("snapshot save expects one argument") }
        let path = invocation.words[0]
        let session = try await CtlSession(invocation)
        guard session.settings.endpoints.count == 1 else {
            let list = session.settings.endpoints.joined(separator: " ")
            throw CtlFailure(.interrupted, "snapshot must be requested to one selected node, not multiple [\(list)]")
        }
        let version = try await receive(into: path, session)
        session.console.line("Snapshot saved at \(path)")
        if !session.console.isEtcdctl && !version.isEmpty { session.console.line("Server version \(version)") }
    }

    /// The version of the server's storage, as far as it says so.
    private static func receive(into path: String, _ session: CtlSession) async throws(CtlFailure) -> String {
        let part = path + ".part"
        var file: NewFile
        do { file = try NewFile(path, temporaryPath: part) } catch {
            throw CtlFailure(.interrupted, "could not open \(part) (\(StoredFile.shown(error)))", advice: StoredFile.advice(error))
        }
        var digest = SnapshotDigest()
        var received = 0
        var version = ""
        var diskFailure: SystemError?
        let stream = session.client.maintenance.snapshot(SnapshotRequest())
        do throws(ClientError) {
            while let piece = try await stream.next() {
                do { try file.append(piece.blob) } catch {
                    diskFailure = error
                    break
                }
                digest.update(piece.blob)
                received += piece.blob.count
                if !piece.version.isEmpty { version = piece.version }
                session.console.progress(progress(received, remaining: piece.remainingBytes))
            }
        } catch {
            session.console.endProgress()
            throw CtlFailure(.interrupted, error.code == .cancelled ? error.message : "\(error)", advice: error.detail)
        }
        session.console.endProgress()
        if let diskFailure {
            throw CtlFailure(.interrupted, StoredFile.shown(diskFailure), advice: StoredFile.advice(diskFailure))
        }
        if let damage = digest.damage(bytes: received) { throw CtlFailure(.interrupted, damage) }
        do { try file.finish() } catch {
            throw CtlFailure(.interrupted, "could not write \(path) (\(StoredFile.shown(error)))", advice: StoredFile.advice(error))
        }
        return version
    }

    private static func progress(_ received: Int, remaining: UInt64) -> String {
        let total = UInt64(received) + remaining
        let percent = total == 0 ? 100 : UInt64(received) * 100 / total
        return "snapshot: \(ByteSize.format(UInt64(received))) of \(ByteSize.format(total)) (\(percent) %)"
    }

    // MARK: status, restore

    /// Both are the offline tool's; here for scripts that have not moved yet.
    static func status(_ invocation: Invocation) throws(CtlFailure) {
        deprecated("status", invocation.console)
        try StatusCommand.run(UtilInvocation(invocation))
    }

    static func restore(_ invocation: Invocation) throws(CtlFailure) {
        deprecated("restore", invocation.console)
        try RestoreCommand.run(UtilInvocation(invocation))
    }

    private static func deprecated(_ command: String, _ console: Console) {
        let tool = console.isEtcdctl ? "etcdutl" : "covey util"
        console.errorLine("Deprecated: Use `\(tool) snapshot \(command)` instead.\n")
    }
}

/// The SHA-256 at the end of a snapshot stream, checked while it flows by: the last bytes are held back.
struct SnapshotDigest {
    private var hash = SHA256()
    private var tail: Bytes = []

    mutating func update(_ piece: Bytes) {
        let all = tail + piece
        let ready = max(0, all.count - SHA256.digestBytes)
        hash.update(all.rawSpan.extracting(0..<ready))
        tail = Bytes(all[ready...])
    }

    /// Why what came is no whole snapshot; nil when it is.
    func damage(bytes: Int) -> String? {
        guard SnapshotFile.layout(fileBytes: bytes).hasDigest else {
            return "sha256 checksum not found [bytes: \(bytes)]"
        }
        var hash = hash
        let computed = hash.finish()
        guard computed == tail else {
            return "the snapshot was damaged on its way: expected sha256 \(Hexadecimal.encode(tail)), "
                + "got \(Hexadecimal.encode(computed))"
        }
        return nil
    }
}
