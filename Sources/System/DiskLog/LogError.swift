// Why a log cannot be opened, or stopped taking writes.

import FileFormats

package enum LogError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The disk refused. What was not acknowledged before is not durable, and never will be through this log.
    case disk(DiskError)
    /// The files are not what was written.
    case damage(LogDamage)
    case exists(String)
    case missing(String)

    package var description: String {
        switch self {
        case .disk(let error):
            "\(error). Nothing more is written to this log and nothing more is acknowledged; "
                + "check the disk and its free space, then start the member again."
        case .damage(let damage): damage.description
        case .exists(let path): "\(path) already holds a log. Open it, or choose an empty data directory."
        case .missing(let path): "\(path) holds no log. Check the data directory, or bootstrap the member."
        }
    }
}

/// Runs file calls and gives their errors the log's type.
func disk<Result: ~Copyable>(_ body: () throws(DiskError) -> Result) throws(LogError) -> Result {
    do { return try body() } catch { throw .disk(error) }
}

func reading<Result: ~Copyable>(_ body: () throws(LogDamage) -> Result) throws(LogError) -> Result {
    do { return try body() } catch { throw .damage(error) }
}
