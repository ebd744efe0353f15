// Messages of the server that a person may have to act upon, each with an id that never changes: `journalctl MESSAGE_ID=...`
// finds it in any version, and `journalctl -x` explains it and names the remedy. The catalog in the package is written
// from this table.

package struct JournalMessage: Sendable {
    /// 128 bits, drawn once. Never used for another message.
    package var id: String
    /// The text of the record, which is how a record finds its id.
    package var text: String
    package var subject: String
    /// What happened, what it means, what to do. `@FIELD@` stands for the record's field.
    package var explanation: String

    package static func id(of text: String) -> String? { identifiers[text] }

    private static let identifiers = Dictionary(uniqueKeysWithValues: all.map { ($0.text, $0.id) })

    package static let all: [JournalMessage] = [
        JournalMessage(
            id: "cfd44b006a64454f8c50956807c66948", text: "ready to serve client requests",
            subject: "The member serves clients",
            explanation: """
                The member has found its cluster and has applied what was committed while it was away.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "1b9b7e95d5cb4d358682de4e2d27bea8", text: "elected leader",
            subject: "Member @COVEY_LEADER@ leads the cluster",
            explanation: """
                An election has ended; the term is @COVEY_TERM@. After a start, a failure or a planned move of leadership this is
                as it should be. When it happens often, the leader's disk or the network between members is too slow: look for
                "slow fdatasync" and "peer became inactive".
                """),
        JournalMessage(
            id: "5adc568ed7704cb590d33c6ba1222620", text: "lost leader", subject: "The member has no leader",
            explanation: """
                It heard nothing from a leader for an election time-out. Writes and linearizable reads through it wait or fail until
                there is one. If others have a leader this member is cut off: check the network to their peer ports. If nobody
                leads, more than half of the members must be started again: systemctl status covey-server@CLUSTER on each host.
                """),
        JournalMessage(
            id: "a8624ac095b34e9f8a96a626ca06da3b", text: "cannot go on",
            subject: "The member stops: it cannot keep its promises",
            explanation: """
                @COVEY_ERROR@

                It ends rather than acknowledge what it may lose; systemd starts it again after a pause. The others go on as long as
                more than half of them run. Remove the cause that is named: make room on a full disk, replace a disk that fails.
                Data that is damaged is never repaired by a start: replace the member, which fetches everything from the others.
                """),
        JournalMessage(
            id: "c878364a1f9f494c9daa8e02596e514b", text: "failed to start etcd",
            subject: "The member cannot start",
            explanation: """
                @COVEY_ERROR@

                The configuration is /etc/covey/CLUSTER/server.yaml. Addresses that are taken, certificates that cannot be read
                and a data directory of another cluster are the usual reasons.
                """),
        JournalMessage(
            id: "9518416f562546bb9c871be3f33c031a", text: "failed to start", subject: "The configuration is refused",
            explanation: """
                @COVEY_ERROR@

                Nothing was touched. The configuration is /etc/covey/CLUSTER/server.yaml.
                """),
        JournalMessage(
            id: "9f30512ff8ad4c04acb533b433d0acc0", text: "data-dir used by this member must be removed",
            subject: "The member was removed from its cluster",
            explanation: """
                The others took it out of the cluster, and it will not come back under the same identity. If that was meant, move
                the data directory @COVEY_DATA_DIR@ away; to have the host back, add it as a new member with an empty directory.
                """),
        JournalMessage(
            id: "95bbf789796c4b33a9feefb3ca9c5c89", text: "found hash mismatch", subject: "Members hold different data",
            explanation: """
                At revision @COVEY_REVISION@ this member and @COVEY_REMOTE_PEER_ID@ differ, which must never be. Take a snapshot of
                each member before anything else, find out which ones agree, and replace the other. The CORRUPT alarm refuses
                writes until it is disarmed.
                """),
        JournalMessage(
            id: "82cb0a1453eb4a1eada6a2af606244d9", text: "raised alarm", subject: "Alarm @COVEY_ALARM@",
            explanation: """
                NOSPACE: a member's store has reached its quota and writes that need room are refused; reads go on. Compact old
                revisions, delete what is not needed, or raise the quota, then: covey ctl alarm disarm.

                CORRUPT: members hold different data; see "found hash mismatch".
                """),
        JournalMessage(
            id: "1f864de6b6274e5f9f1701904ddad520", text: "slow fdatasync", subject: "The disk is too slow",
            explanation: """
                A write to the log took @COVEY_TOOK@ to reach the disk of @COVEY_PATH@, or many in a row took about that.
                Everything waits for that: writes become slow, and a leader with such a disk is voted out again and again. Look for
                other programs on the disk and for errors of it in the kernel's log; a disk of its own for the member helps. Until
                then another member had better lead: covey member move-leader.
                """),
        JournalMessage(
            id: "8806770e06a548a8951d44ce5bbe3a3d", text: "applied a membership change",
            subject: "The cluster's members have changed",
            explanation: """
                @COVEY_CHANGE@

                It was asked for by an operator or by the agent. "covey ctl member list" shows who belongs to the cluster now.
                """),
        JournalMessage(
            id: "6df7ee08f2604423a6f4dda942bbee5e", text: "peer became inactive",
            subject: "Another member cannot be reached",
            explanation: """
                Nothing is heard from member @COVEY_REMOTE_PEER_ID@. It is stopped, or the network between the two is cut; look at
                it from its own host: systemctl status covey-server@CLUSTER. As long as more than half of the members run the
                cluster serves.
                """),
        JournalMessage(
            id: "6b488c07e6ac4c71ba735c379f683974", text: "peer became active",
            subject: "Another member is reached again",
            explanation: """
                Member @COVEY_REMOTE_PEER_ID@ answers.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "fd76041c064646aca13ddeb6ed290021", text: "received signal; shutting down",
            subject: "The member was told to stop",
            explanation: """
                Signal: @COVEY_SIGNAL@. It hands leadership over first, finishes the calls that run, and ends.
                """),
    ]

    /// The file of the journal's catalog.
    package static var catalog: String {
        "# Explanations for journalctl -x, written from Sources/System/Telemetry/JournalMessages.swift: make units\n"
            + (all + ofAgents).map { message in
                "\n-- \(message.id)\nSubject: \(message.subject)\nDefined-By: covey\nSupport: man:covey(1)\n\n\(message.explanation)\n"
            }.joined()
    }
}
