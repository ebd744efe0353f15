// import: the data directory of an etcd 3.4 or 3.5 member becomes one of ours, and the member goes on: same identity, same
// log, same term and vote, so it may rejoin its cluster among members of either kind.
//
//     member/snap/db      -> member/store/      members from the log, since the database's are not kept up to date
//     member/snap/*.snap  -> member/snap/       as it is
//     member/wal/*.wal    -> member/wal/        as they are; what they hold beyond the database is applied
//
// The old directory is read under the database's lock and not changed.

import DiskLog
import FileFormats
import Foundations
import LMDBStore
import MVCC
import State

enum ImportCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("import requires exactly one argument: the data directory of an etcd member")
        let console = invocation.console
        let source = try EtcdDirectory(path, wal: invocation.path("source-wal-dir"))
        let site = try BuildSite(invocation.path("data-dir") ?? "", wal: invocation.path("wal-dir"))
        for damage in source.log.broken { console.warn("passed over a damaged snapshot file", [("error", "\(damage)")]) }
        console.info(
            "importing data directory",
            [
                ("path", path), ("data-dir", site.directory), ("member-id", "\(source.log.identity.member)"),
                ("cluster-id", "\(source.log.identity.cluster)"),
            ])
        let membership = try LogReplay.membership(source.log, at: source.consistentIndex)
        try fillStore(site, source, membership)
        try source.log.copy(wal: site.data.wal, snap: site.data.snap)
        let commit = source.log.commitIndex(voters: membership.voters.map(\.id))
        let applied = try LogReplay.apply(source.log, upTo: commit, to: site.data.store)
        try site.finish()
        console.info(
            "imported data directory",
            [
                ("path", path), ("data-dir", site.directory),
            ],
            json: [
                ("database-index", "\(source.consistentIndex)"), ("entries-applied", "\(applied)"),
                ("commit-index", "\(commit)"), ("term", "\(source.log.state.term)"),
            ])
    }

    private static func fillStore(
        _ site: BuildSite, _ source: EtcdDirectory, _ membership: Membership
    ) throws(CtlFailure) {
        let facts = source.facts
        do throws(ImageLoadError) {
            try ImageLoad.load(
                source.database.path, into: site.data.store, leavingOut: [.members, .membersRemoved],
                check: { table, key, value in RecordCheck.wrong(table, key, value) },
                adding: { load throws(StoreError) in
                    for member in membership.members { try load.put(.members, storeKey(member.id), member.json) }
                    for id in membership.removed.sorted() {
                        try load.put(.membersRemoved, storeKey(id), Bytes("removed".utf8))
                    }
                    if let version = membership.version {
                        try load.put(.cluster, Bytes("clusterVersion".utf8), Bytes(version.description.utf8))
                    }
                    try load.put(.meta, Bytes("consistent_index".utf8), bigEndian(source.consistentIndex))
                    // 3.4 does not write the term.
                    if let term = facts.term ?? source.log.term(of: source.consistentIndex) {
                        try load.put(.meta, Bytes("term".utf8), bigEndian(term))
                    }
                })
        } catch { throw CtlFailure(.error, "\(error)") }
    }

    private static func storeKey(_ id: MemberID) -> Bytes { Bytes(id.description.utf8) }
}
