// snapshot restore: a snapshot file becomes the data directory of a member of a new cluster. Every member of it restores
// from the same file with the same flags; they then compute the same ids and begin with the same log.
//
// The store gets the snapshot's keys, leases, users and alarms, and the new cluster's members. The log says what the first
// log of a cluster says, and that all of it is in a snapshot, so that a member that falls behind is sent the state.

import DiskLog
import FileFormats
import Flags
import Foundations
import LMDBStore
import MVCC
import State

enum RestoreCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("snapshot restore requires exactly one argument")
        let values = invocation.values
        var bump: UInt64 = 0
        if values.option("bump-revision") != nil {
            bump = values.unsigned("bump-revision")
            guard (bump > 0) == values.bool("mark-compacted") else {
                throw CtlFailure(.error, "--mark-compacted required if --bump-revision > 0")
            }
        }
        let name = values.text("name")
        let (cluster, advertised): (InitialCluster, [MemberURL])
        do throws(URLError) {
            advertised = try URLList.parse(values.text("initial-advertise-peer-urls"))
            cluster = try InitialCluster.parse(values.text("initial-cluster"))
        } catch { throw CtlFailure(.error, error.description) }
        try AdvertisedURLs.check(advertised, against: cluster, name: name)
        let founders = FoundingMembers(
            token: values.text("initial-cluster-token"),
            members: cluster.members.map { ($0.name, $0.urls.map(\.description)) })
        guard let own = founders.member(named: name) else { unreachable("checked: \(name) is of the cluster") }

        let site = try BuildSite(
            invocation.path("data-dir") ?? name + ".etcd", wal: invocation.path("wal-dir"))
        let fields = [
            ("path", path), ("wal-dir", site.walDirectory), ("data-dir", site.directory),
            ("snap-dir", site.directory + "/member/snap"),
        ]
        invocation.console.info("restoring snapshot", fields)
        let file = try ImageFile(path)
        try check(file, skipsHash: values.bool("skip-hash-check"), invocation.console)
        let index = LogIndex(founders.members.count)
        try fillStore(site, file, founders, index, bump: bump, invocation.console)
        for member in founders.members {
            invocation.console.info(
                "added member",
                [
                    ("cluster-id", "\(founders.cluster)"), ("local-member-id", "0"), ("added-peer-id", "\(member.id)"),
                ], json: [("added-peer-peer-urls", UtilConsole.list(member.peerURLs))])
        }
        try writeLog(site, own, founders, index)
        try site.finish()
        invocation.console.info("restored snapshot", fields)
    }

    /// The digest is what tells a whole snapshot from a damaged one; without it every page is looked at.
    private static func check(_ file: ImageFile, skipsHash: Bool, _ console: UtilConsole) throws(CtlFailure) {
        guard !skipsHash else {
            do throws(BoltDamage) { try file.image().check() } catch { throw CtlFailure(.error, "\(file.path): \(error)") }
            return
        }
        let digest: ImageFile.Digest
        do throws(BoltDamage) { digest = try file.digest() } catch { throw CtlFailure(.error, "\(file.path): \(error)") }
        switch digest {
        case .good: return
        case .absent:
            throw CtlFailure(
                .error, "snapshot missing hash but --skip-hash-check=false",
                advice: "\(file.path) is a database file, or a snapshot that was cut off: it has \(file.fileBytes) bytes, "
                    + "which is no multiple of 512 and 32 more. Use another copy; "
                    + "only a file copied from a data directory is right without.")
        case .bad(let expected, let found):
            let shown = { (digest: Bytes) in
                console.isEtcdutl
                    ? "[\(digest.map { "\($0)" }.joined(separator: " "))]" : Hexadecimal.encode(digest)
            }
            throw CtlFailure(
                .error, "expected sha256 \(shown(expected)), got \(shown(found))",
                advice: "\(file.path) was changed after it was saved. Use another copy or backup.")
        }
    }

    private static func fillStore(
        _ site: BuildSite, _ file: ImageFile, _ founders: FoundingMembers, _ index: LogIndex, bump: UInt64,
        _ console: UtilConsole
    ) throws(CtlFailure) {
        var facts = ImageFacts()
        var tooFar = false
        do throws(ImageLoadError) {
            try ImageLoad.load(
                file.path, into: site.data.store, leavingOut: [.members, .membersRemoved],
                check: { table, key, value in
                    facts.note(table, key, value)
                    return RecordCheck.wrong(table, key, value)
                },
                adding: { load throws(StoreError) in
                    try load.put(.meta, Bytes("consistent_index".utf8), bigEndian(index))
                    try load.put(.meta, Bytes("term".utf8), bigEndian(1))
                    try load.put(.meta, Bytes("confState".utf8), confState(founders))
                    for member in founders.members {
                        try load.put(.members, Bytes(member.id.description.utf8), member.json)
                    }
                    if let version = loweredVersion(facts) {
                        try load.put(.cluster, Bytes("clusterVersion".utf8), Bytes(version.description.utf8))
                        console.info(
                            "lowered the cluster version to what this server has",
                            [("from", facts.clusterVersion ?? ""), ("to", "\(version)")])
                    }
                    guard bump > 0 else { return }
                    let (main, isOver) = UInt64(facts.revision).addingReportingOverflow(bump)
                    guard !isOver, let main = Int64(exactly: main), main < Int64.max else {
                        tooFar = true
                        return
                    }
                    let revision = RevisionKey.encode(Revision(main: main, sub: 0))
                    try load.put(.key, revision, [], append: true)
                    try load.put(.meta, Bytes("scheduledCompactRev".utf8), revision)
                })
        } catch { throw CtlFailure(.error, "\(error)") }
        if tooFar {
            throw CtlFailure(.error, "--bump-revision=\(bump) leads beyond the greatest revision, \(Int64.max)")
        }
    }

    /// Snapshots of newer releases hold nothing that a server of this one does not know, except the claim.
    private static func loweredVersion(_ facts: ImageFacts) -> ClusterVersion? {
        guard let text = facts.clusterVersion, let version = ClusterVersion(text),
            let own = ClusterVersion(ProgramVersion.etcd), version.release > own.release
        else { return nil }
        return own.release
    }

    private static func confState(_ founders: FoundingMembers) -> Bytes {
        let voters = founders.members.map { "\($0.id.rawValue)" }.joined(separator: ",")
        return Bytes("{\"voters\":[\(voters)],\"auto_leave\":false}".utf8)
    }

    private static func writeLog(
        _ site: BuildSite, _ own: Member, _ founders: FoundingMembers, _ index: LogIndex
    ) throws(CtlFailure) {
        let entries = founders.entries.enumerated().map {
            LogEntry(term: 1, index: LogIndex($0.offset + 1), kind: 1, data: $0.element)
        }
        let confState = founders.confState.encoded()
        let segment = WALEncoder.opening(
            LogIdentity(member: own.id, cluster: founders.cluster), entries,
            LogState(term: 1, vote: founders.members[0].id, commit: index),
            snapshot: LogSnapshot(index: index, term: 1, confState: confState))
        var anonymous: [Member] = []
        for var member in founders.members {
            // Who has started is known when it publishes its name.
            member.name = ""
            anonymous.append(member)
        }
        let document = Membership(members: anonymous, removed: [], version: nil).snapshotDocument
        do throws(LogError) {
            // The file is on the disk before the log refers to it.
            try site.data.snap.save(SnapFile(data: document, index: index, term: 1, confState: confState))
            try DiskLog.create(site.data.wal, firstSegment: segment)
        } catch { throw CtlFailure(.error, "\(error)") }
    }
}
