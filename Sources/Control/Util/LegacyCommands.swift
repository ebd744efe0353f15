// Commands of etcdutl that have no work left here, and say what to use.

import DiskLog
import Foundations
import State

enum LegacyCommands {
    /// etcd's database carries the version of its schema; ours has a format number, and there is one so far.
    static func migrate(_ invocation: UtilInvocation) throws(CtlFailure) {
        let directory = invocation.values.text("data-dir")
        let text = invocation.values.text("target-version")
        guard let target = ClusterVersion(text + ".0") else {
            throw CtlFailure(.error, "wrong target version format, expected \"X.Y\", got \(quoted(text))")
        }
        guard CoveyDirectory.isOne(directory) else {
            throw CtlFailure(
                .error, "\(directory) is no data directory of ours",
                advice: "`covey util import` takes over one of etcd 3.4 or 3.5; etcd's own migrate works on the rest.")
        }
        _ = try CoveyDirectory(directory)
        guard target <= ClusterVersion(3, 5) else {
            throw CtlFailure(.error, "there is no storage version \(text): ours is that of 3.5, for all versions up to it")
        }
        invocation.console.info(
            "storage version up-to-date", [("data-dir", directory), ("storage-version", "\(ClusterVersion(3, 5))")])
    }

    /// Copied a directory and gave it a new identity, for clusters that still had keys of the v2 API.
    static func backup(_ invocation: UtilInvocation) throws(CtlFailure) {
        let directory = invocation.values.text("data-dir")
        let isOurs = CoveyDirectory.isOne(directory)
        throw CtlFailure(
            .error, "backup is not supported: it was for the keys of etcd's v2 API",
            advice: isOurs
                ? "Use `covey util export \(directory) --snapshot FILE`, and `covey util snapshot restore FILE`."
                : "Use `snapshot save`, or restore \(EtcdDirectory.databasePath(directory)) with --skip-hash-check.")
    }
}
