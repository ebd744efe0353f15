// Why a store cannot be opened, or stopped committing.

import CLMDB
import Glibc

package enum StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A call of LMDB or the system failed; `code` is an errno or one of LMDB's own numbers.
    case failed(call: String, path: String, code: Int32)
    /// There is a file, and it is not a store of ours. It is left as it is.
    case foreign(path: String)
    /// The file is a store, and parts of it are gone or senseless.
    case damaged(path: String, what: String)
    case newerFormat(path: String, found: String)
    case exists(path: String)
    case missing(path: String)

    package var description: String {
        switch self {
        case .failed(let call, let path, let code):
            "\(call) \(path): \(StoreError.text(code)). Nothing more is committed; "
                + "check the disk and its free space, then start the member again."
        case .foreign(let path):
            "\(path) is not a store of this program; it was not touched. Check the data directory."
        case .damaged(let path, let what):
            "\(path) is damaged: \(what). The member refuses to start; replace it from a healthy one, or restore a backup."
        case .newerFormat(let path, let found): "\(path) has format \(found), which is newer than this program."
        case .exists(let path): "\(path) already exists. Choose an empty data directory."
        case .missing(let path): "\(path) does not exist. Check the data directory, or bootstrap the member."
        }
    }

    /// True when the disk or the file system's quota is full.
    package var isDiskFull: Bool {
        if case .failed(_, _, let code) = self { return code == ENOSPC || code == EDQUOT || code == MDB_MAP_FULL }
        return false
    }

    private static func text(_ code: Int32) -> String {
        guard let text = unsafe mdb_strerror(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }
}

/// Throws what LMDB answered, unless it is success.
func check(_ code: Int32, _ call: String, _ path: String) throws(StoreError) {
    if code != MDB_SUCCESS { throw .failed(call: call, path: path, code: code) }
}
