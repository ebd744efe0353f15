// Gives free pages back to the file system: the store is copied without them, and the copy takes the place of the file.
//
//     store/data.mdb  --copy without free pages-->  store/defrag.tmp/data.mdb  --rename-->  store/data.mdb
//
// It runs on the store's thread between two commits, so the copy holds everything that is committed. Readers are not held
// up: whoever reads from the old file goes on with it, and it goes with its last reader. Batches wait meanwhile. A crash
// at any point leaves the old file or the new one whole; what is left of a copy is removed by the next one.

import CLMDB
import Foundations
import Glibc

extension Environment {
    /// A store without free pages in the place of this one. No write transaction may be open. An error after `isReplaced` is
    /// the end of the store: what is committed from then on might not be found after a crash.
    func defragmented(_ isReplaced: inout Bool) throws(StoreError) -> Environment {
        let building = path + "/defrag.tmp"
        Environment.removeCopy(building)
        guard unsafe mkdir(building, 0o700) == 0 else { throw .failed(call: "make folder", path: building, code: errno) }
        let copy: Environment
        do throws(StoreError) {
            try check(unsafe mdb_env_copy2(handle, building, UInt32(MDB_CP_COMPACT)), "copy", building)
            try Environment.sync(building + "/" + Environment.dataFile)
            // Opened before it is put in place: a copy that cannot be used must not take it.
            copy = try Environment(building, shownAs: path, mapBytes: mapBytes, creating: false)
            let file = building + "/" + Environment.dataFile
            guard unsafe rename(file, path + "/" + Environment.dataFile) == 0 else {
                throw .failed(call: "rename", path: file, code: errno)
            }
        } catch {
            Environment.removeCopy(building)
            throw error
        }
        isReplaced = true
        // Tells other programs of our readers; a store without it works.
        _ = unsafe rename(building + "/" + Environment.lockFile, path + "/" + Environment.lockFile)
        _ = unsafe rmdir(building)
        try Environment.sync(path)
        return copy
    }

    private static func removeCopy(_ folder: String) {
        for file in [dataFile, lockFile] { _ = unsafe unlink(folder + "/" + file) }
        _ = unsafe rmdir(folder)
    }

    /// A file or a folder.
    private static func sync(_ path: String) throws(StoreError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failed(call: "open", path: path, code: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .failed(call: "sync", path: path, code: errno) }
    }
}
