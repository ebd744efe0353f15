// hashkv: the hash over the keys' history that members compare, of a file or a directory, without a server.

import FileFormats
import Flags
import Foundations
import JSON
import LMDBStore
import MVCC

enum HashKVCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("hashkv command requires exactly one argument.")
        let style = try invocation.style()
        let revision = invocation.values.integer("rev")
        guard revision >= 0 else { throw .arguments("--rev is a revision, not \(revision)") }
        let hash = try HashKVCommand.hash(path, revision)
        invocation.console.console.out(try rendered(hash, style.format))
    }

    static func hash(_ path: String, _ revision: Int64) throws(CtlFailure) -> StoreHash {
        if CoveyDirectory.isOne(path) {
            let directory = try CoveyDirectory(path)
            return try hash(try directory.store(), revision, path)
        }
        let database = EtcdDirectory.databasePath(path)
        let file = try ImageFile(StoredFile.exists(database) ? database : path)
        let store: ImageStore
        do throws(BoltDamage) { store = try ImageStore(try file.image()) } catch {
            throw CtlFailure(.error, "\(file.path): \(error)")
        }
        let hash = try hash(store, revision, file.path)
        if let damage = store.damage { throw CtlFailure(.error, "\(file.path): \(damage)") }
        return hash
    }

    private static func hash(_ store: any OrderedStore, _ revision: Int64, _ path: String) throws(CtlFailure) -> StoreHash {
        do {
            let keys = try KeyValueStore(store)
            defer { keys.endTurn() }
            return try keys.hash(revision)
        } catch let error as KeyValueError {
            throw CtlFailure(
                .error,
                error == .future
                    ? "mvcc: required revision is a future revision" : "mvcc: required revision has been compacted")
        } catch { throw CtlFailure(.error, "\(path): \(error)") }
    }

    private static func rendered(_ hash: StoreHash, _ format: OutputFormat) throws(CtlFailure) -> Bytes {
        let row = ["\(hash.hash)", "\(hash.revision)", "\(hash.compactRevision)"]
        switch format {
        case .simple: return Bytes((row.joined(separator: ", ") + "\n").utf8)
        case .table: return Bytes(AsciiTable(["hash", "hash revision", "compact revision"], [row]).text.utf8)
        case .fields:
            let text = "\"Hash\" : \(row[0])\n\"Hash revision\" : \(row[1])\n\"Compact revision\" : \(row[2])\n"
            return Bytes(text.utf8)
        case .json:
            var json = JSONWriter()
            json.beginObject()
            json.name("hash")
            json.number(hash.hash)
            json.name("hashRevision")
            json.number(hash.revision)
            json.name("compactRevision")
            json.number(hash.compactRevision)
            json.endObject()
            return json.bytes + [0x0a]
        case .protobuf: throw Reply.unsupported(.protobuf)
        }
    }
}
