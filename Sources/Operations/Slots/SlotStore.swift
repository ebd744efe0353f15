// Programs on a host, a folder each, never changed once they are there:
//
//     /var/lib/covey/versions/0.5.0-9b1f0c2a77de/   covey (or etcd), manifest, manifest.sig, origin
//     /var/lib/covey/versions/.incoming-SHA256/     what is on its way; becomes a slot by one rename, or is thrown away
//
// A slot is complete or not there: everything in it is on the disk before the rename, the rename is before it is used.

import CLinux
import Flags
import Foundations
import Glibc
import Inventory
import JSON
import Linux
import PKI

struct Slot: Sendable, Equatable {
    var name: String
    var manifest: ArtifactManifest
    /// Whose key; empty: nobody's.
    var signer: String
    /// `package` or `upload`.
    var origin: String
    /// Seconds since 1970.
    var installed: Int64
    /// Why it cannot be used; empty when it can.
    var problem = ""
}

struct SlotFailure: Error, Equatable, CustomStringConvertible {
    var description: String
    init(_ text: String) { description = text }
}

struct SlotStore: Sendable {
    let folder: String

    /// Slots kept beside those in use.
    static let keptMax = 3
    /// What was begun to be sent and not ended is kept so long. Seconds.
    static let incomingAgeMax: Int64 = 86_400

    init(_ folder: String) { self.folder = folder }

    func path(_ slot: Slot) -> String { "\(folder)/\(slot.name)/\(slot.manifest.engine)" }

    private func incoming(_ sha256: String) -> String { "\(folder)/.incoming-\(sha256)" }

    // MARK: Looking

    /// The newest first.
    func all() -> [Slot] {
        HostKeeper.names(in: folder).filter { !$0.hasPrefix(".") }.compactMap { slot($0) }.sorted {
            ($1.installed, $1.name) < ($0.installed, $0.name)
        }
    }

    /// Nil for what is no slot. Sizes are compared, contents are not: see `check`.
    func slot(_ name: String) -> Slot? {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/"),
            let bytes = try? KeyFile.read("\(folder)/\(name)/manifest").bytes, let manifest = ArtifactManifest(bytes)
        else { return nil }
        // Written before the slot got its name.
        let json = (try? KeyFile.read("\(folder)/\(name)/origin").bytes).flatMap { try? JSONValue(parsing: $0) }
        var slot = Slot(
            name: name, manifest: manifest, signer: json?["signer"]?.string ?? "", origin: json?["origin"]?.string ?? "",
            installed: json?["installed"]?.int64 ?? 0)
        var status = stat()
        if unsafe stat(path(slot), &status) != 0 {
            slot.problem = "its program is gone"
        } else if UInt64(status.st_size) != manifest.size {
            slot.problem = "its program has \(status.st_size) bytes instead of \(manifest.size)"
        }
        return slot
    }

    func slot(sha256: String) -> Slot? { all().first { $0.manifest.sha256 == sha256 } }

    /// The whole program is read: before it is started, nobody's word counts.
    func check(_ slot: Slot) throws(SlotFailure) {
        guard slot.problem.isEmpty else { throw SlotFailure("slot \(slot.name): \(slot.problem)") }
        let facts: FileDigest.Facts
        do throws(PKIError) { facts = try FileDigest.of(path(slot)) } catch { throw SlotFailure("slot \(slot.name): \(error)") }
        guard facts.sha256 == slot.manifest.sha256 else {
            throw SlotFailure(
                "slot \(slot.name) was changed: its program has SHA-256 \(facts.sha256.prefix(12)), its manifest says "
                    + "\(slot.manifest.sha256.prefix(12)). Find out who did that; the slot is not used")
        }
    }

    // MARK: From elsewhere

    /// How much of it is here.
    func begin(_ manifest: ArtifactManifest, _ signature: [UInt8]) throws(SlotFailure) -> UInt64 {
        let place = incoming(manifest.sha256)
        try write { () throws(PKIError) in
            try KeyFile.makeFolder(folder, mode: 0o755)
            try KeyFile.makeFolder(place, mode: 0o755)
            try KeyFile.write(Array(manifest.text.utf8), to: place + "/manifest", mode: 0o444)
            unsafe unlink(place + "/manifest.sig")
            if !signature.isEmpty {
                try KeyFile.write(Array(SignatureFile.text(signature).utf8), to: place + "/manifest.sig", mode: 0o444)
            }
        }
        // Given its name already when an agent ended there.
        if !KeyFile.exists(place + "/program") { unsafe rename("\(place)/\(manifest.engine)", place + "/program") }
        var room = statvfs()
        let received = size(place + "/program")
        if unsafe statvfs(place, &room) == 0 {
            let free = UInt64(room.f_bavail) * UInt64(room.f_frsize)
            let needed = manifest.size - min(manifest.size, received) + Self.spareBytes
            guard free >= needed else { throw SlotFailure("\(folder) has \(free >> 20) MiB free, \(needed >> 20) MiB are needed") }
        }
        return received
    }

    /// The disk is not filled to the brim by programs.
    private static let spareBytes: UInt64 = 64 << 20

    /// How much is here afterwards; pieces that do not continue what is here are left out, and the sender goes on from there.
    func append(_ sha256: String, at offset: UInt64, _ bytes: [UInt8]) throws(SlotFailure) -> UInt64 {
        let place = incoming(sha256)
        guard sha256.utf8.count == 64, Hexadecimal.decode(sha256) != nil,
            let manifest = (try? KeyFile.read(place + "/manifest").bytes).flatMap({ ArtifactManifest($0) })
        else { throw SlotFailure("nobody has offered a program with SHA-256 \(sha256.prefix(12))") }
        let path = place + "/program"
        let there = size(path)
        guard offset == there else { return there }
        guard there + UInt64(bytes.count) <= manifest.size else {
            throw SlotFailure("more was sent than the \(manifest.size) bytes of the manifest")
        }
        let descriptor = unsafe covey_open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        guard descriptor >= 0 else { throw SlotFailure("\(SystemError("open", path))") }
        defer { close(descriptor) }
        var done = 0
        while done < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { throw SlotFailure("\(SystemError("write", path))") }
            done += written
        }
        return there + UInt64(bytes.count)
    }

    /// What was received becomes a slot, if it is what its manifest says. `reach`: where a drill may end the process.
    func install(_ sha256: String, signer: String, now: Int64, reach: (String) -> Void) throws(SlotFailure) -> Slot {
        if let there = slot(sha256: sha256) { return there }
        let folder = incoming(sha256)
        guard let manifest = (try? KeyFile.read(folder + "/manifest").bytes).flatMap({ ArtifactManifest($0) }),
            manifest.sha256 == sha256
        else { throw SlotFailure("nobody has sent a program with SHA-256 \(sha256.prefix(12))") }
        let path = folder + "/program"
        let facts: FileDigest.Facts
        do throws(PKIError) { facts = try FileDigest.of(path) } catch { throw SlotFailure("\(error)") }
        guard facts.size == manifest.size, facts.sha256 == sha256 else {
            // From the start again: no byte of it can be believed.
            if facts.size >= manifest.size { unsafe unlink(path) }
            throw SlotFailure(
                "what was received has \(facts.size) bytes with SHA-256 \(facts.sha256.prefix(12)); the manifest says "
                    + "\(manifest.size) bytes with \(sha256.prefix(12))")
        }
        reach("slot/checked")
        guard unsafe chmod(path, 0o755) == 0 else { throw SlotFailure("\(SystemError("chmod", path))") }
        let said = ProgramFacts.of(path)
        guard said?.version == manifest.version, said?.engine == manifest.engine else {
            throw SlotFailure(
                "it does not run here, or is not what its manifest says (\(manifest.engine) \(manifest.version)): it says "
                    + (said.map { "\($0.engine) \($0.version)" } ?? "nothing"))
        }
        guard unsafe rename(path, "\(folder)/\(manifest.engine)") == 0 else {
            throw SlotFailure("\(SystemError("rename", path))")
        }
        return try place(folder, manifest, signer: signer, origin: "upload", now: now, reach: reach)
    }

    /// The host's own package: what root has installed needs no other proof. Linked where the file system allows it (packages
    /// replace files, they do not write into them), copied elsewhere.
    func install(package path: String, now: Int64, reach: (String) -> Void) throws(SlotFailure) -> Slot {
        let facts: FileDigest.Facts
        do throws(PKIError) { facts = try FileDigest.of(path) } catch { throw SlotFailure("\(error)") }
        if let there = slot(sha256: facts.sha256) { return there }
        guard let said = ProgramFacts.of(path) else { throw SlotFailure("\(path) does not say what it is (--version)") }
        let manifest = ArtifactManifest(
            engine: said.engine, version: said.version, platform: ProgramFacts.platform, size: facts.size, sha256: facts.sha256)
        let place = incoming(facts.sha256)
        try write { () throws(PKIError) in
            try KeyFile.makeFolder(folder, mode: 0o755)
            try KeyFile.makeFolder(place, mode: 0o755)
            try KeyFile.write(Array(manifest.text.utf8), to: place + "/manifest", mode: 0o444)
            unsafe unlink(place + "/manifest.sig")
        }
        let target = "\(place)/\(manifest.engine)"
        unsafe unlink(target)
        if unsafe link(path, target) != 0 { try copy(path, target) }
        reach("slot/checked")
        return try self.place(place, manifest, signer: "package", origin: "package", now: now, reach: reach)
    }

    private func copy(_ from: String, _ to: String) throws(SlotFailure) {
        let source = unsafe covey_open(from, O_RDONLY, 0)
        guard source >= 0 else { throw SlotFailure("\(SystemError("open", from))") }
        defer { close(source) }
        do throws(SystemError) {
            var file = try NewFile(to, temporaryPath: to + ".new", mode: 0o755)
            var buffer = [UInt8](repeating: 0, count: 1 << 20)
            while true {
                let count = unsafe Glibc.read(source, &buffer, buffer.count)
                if count < 0 && errno == EINTR { continue }
                guard count >= 0 else { throw SystemError("read", from) }
                if count == 0 { break }
                try file.append(Array(buffer[..<count]))
            }
            try file.finish()
        } catch { throw SlotFailure("\(error)") }
    }

    /// Everything in the folder is on the disk before it gets its name.
    private func place(
        _ place: String, _ manifest: ArtifactManifest, signer: String, origin: String, now: Int64, reach: (String) -> Void
    ) throws(SlotFailure) -> Slot {
        let json = JSONValue.object([
            .init("signer", .string(signer)), .init("origin", .string(origin)), .init("installed", .number(now)),
        ])
        try write { () throws(PKIError) in try KeyFile.write(Array(json.text().utf8), to: place + "/origin", mode: 0o444) }
        let program = "\(place)/\(manifest.engine)"
        let descriptor = unsafe covey_open(program, O_RDONLY, 0)
        guard descriptor >= 0 else { throw SlotFailure("\(SystemError("open", program))") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw SlotFailure("\(SystemError("fsync", program))") }
        Folder.sync(of: program)
        reach("slot/written")
        let name = "\(folder)/\(manifest.slot)"
        guard unsafe rename(place, name) == 0 else { throw SlotFailure("\(SystemError("rename", place))") }
        Folder.sync(of: name)
        reach("slot/placed")
        guard let slot = slot(manifest.slot) else { throw SlotFailure("\(name) cannot be read") }
        return slot
    }

    // MARK: Cleaning

    /// Removes what nothing needs: slots beyond the newest few that are not in use, and what was never sent to its end.
    @discardableResult
    func clean(inUse: Set<String>, now: Int64) -> [String] {
        let old = all().filter { !inUse.contains($0.name) }.dropFirst(Self.keptMax).map(\.name)
        var removed: [String] = []
        for name in old {
            // First it stops being a slot, then it goes.
            let aside = "\(folder)/.removed-\(name)"
            guard unsafe rename("\(folder)/\(name)", aside) == 0 else { continue }
            removed.append(name)
        }
        for name in HostKeeper.names(in: folder) {
            var status = stat()
            let path = "\(folder)/\(name)"
            var isLeft = false
            if name.hasPrefix(".incoming-"), unsafe stat(path, &status) == 0 {
                isLeft = now - Int64(status.st_mtim.tv_sec) > Self.incomingAgeMax
            }
            guard name.hasPrefix(".removed-") || isLeft else { continue }
            for file in HostKeeper.names(in: path) { unsafe unlink("\(path)/\(file)") }
            unsafe rmdir(path)
        }
        return removed
    }

    // MARK: Helpers

    private func size(_ path: String) -> UInt64 {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? UInt64(status.st_size) : 0
    }

    private func write(_ body: () throws(PKIError) -> Void) throws(SlotFailure) {
        do throws(PKIError) { try body() } catch { throw SlotFailure("\(error)") }
    }
}

/// The digest of a file that is asked for often and seldom changes.
struct RememberedDigest {
    private var key: [Int64] = []
    private var sha256 = ""

    /// Empty when there is no such file.
    mutating func of(_ path: String) -> String {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return "" }
        let now = [
            Int64(status.st_dev), Int64(status.st_ino), Int64(status.st_size), Int64(status.st_mtim.tv_sec),
            Int64(status.st_mtim.tv_nsec), Int64(status.st_ctim.tv_sec), Int64(status.st_ctim.tv_nsec),
        ].map { Int64(truncatingIfNeeded: $0) }
        if now != key || sha256.isEmpty {
            // Told as unknown by its absence.
            sha256 = (try? FileDigest.of(path).sha256) ?? ""
            key = now
        }
        return sha256
    }
}

enum ProgramFacts {
    static let platform = "linux/\(ProgramVersion.architecture)"

    /// What a program says it is; nil for what does not run, and for what is neither Covey nor etcd.
    static func of(_ path: String) -> (engine: String, version: String)? {
        // What cannot be started says nothing.
        guard let result = try? PipedProcess.run([path, "--version"], input: []), case .exited(0) = result.outcome,
            let line = String(decoding: result.output, as: UTF8.self).split(separator: "\n").first
        else { return nil }
        return ArtifactManifest.engine(saying: line)
    }
}
