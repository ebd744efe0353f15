// What agents write into the journal; they send these with their ids, so nothing is looked up by text.

extension JournalMessage {
    package static let ofAgents: [JournalMessage] = [
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a10", text: "agent: step done",
            subject: "Step @COVEY_STEP@ of operation @COVEY_OP@ was done",
            explanation: """
                The agent of @COVEY_MEMBER@ performed a step an operator ordered for cluster @COVEY_CLUSTER@.

                Nothing needs to be done. All steps of the operation: covey op show @COVEY_OP@
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a11", text: "agent: step failed",
            subject: "Step @COVEY_STEP@ of operation @COVEY_OP@ failed",
            explanation: """
                The agent of @COVEY_MEMBER@ could not perform a step for cluster @COVEY_CLUSTER@; the message says why.

                When the reason has gone, go on: covey op resume @COVEY_OP@. To give it up: covey op abort @COVEY_OP@
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a12", text: "agent: identity guard",
            subject: "The server of cluster @COVEY_CLUSTER@ is not started here",
            explanation: """
                What is on the disk of @COVEY_MEMBER@ is not what the ledger says this member has. An empty or foreign folder
                started as an old member would damage the cluster, so the agent refuses.

                Replace the member by a healthy host: covey member replace @COVEY_MEMBER@ OTHER
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a13", text: "agent: ready",
            subject: "The agent is ready",
            explanation: """
                The agent of @COVEY_MEMBER@ answers the operator's commands.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a14", text: "agent: health changed",
            subject: "The health of the member of cluster @COVEY_CLUSTER@ has changed",
            explanation: """
                The member on @COVEY_MEMBER@ says something else of its health than before.

                The whole cluster: covey status; what to do about it: covey doctor
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a15", text: "agent: units read",
            subject: "systemd was asked to read the units of cluster @COVEY_CLUSTER@ again",
            explanation: """
                A file of the member's unit on @COVEY_MEMBER@ was newer than what systemd had read: an agent was ended between
                writing the file and telling systemd, or somebody changed the unit by hand. The member's next start is one of the
                unit as it is on the disk.

                Nothing needs to be done. What the unit is now: systemctl cat covey-server@CLUSTER
                """),
        JournalMessage(
            id: "7d3c0b5a2f8e4c0f9a5d1e6b4c2f7a16", text: "agent: leader moved",
            subject: "The leader of cluster @COVEY_CLUSTER@ was asked to hand over, because its disk is slow",
            explanation: """
                The member on @COVEY_MEMBER@ led, and every write waited for a disk that takes longer than the inventory allows
                (two and a half times storage.maxFsyncP99). The message names the member that is to lead, whose disk is not slow.

                Find what keeps the disk of @COVEY_MEMBER@ busy: covey doctor. Members that are not to hand over by themselves:
                policy.leaderOffSlowDisk: false
                """),
        JournalMessage(
            id: "5e1d70c94b3a4d1f8c26a0f7e9b31c01", text: "agent: inventory file refused",
            subject: "The inventory file on @COVEY_MEMBER@ cannot be used",
            explanation: """
                The message names the place: file, line and column. Nothing was changed, here or on other hosts, and nothing will
                be until the file is right: all hosts must have the same one.

                Check it before it is put there: covey validate FILE
                """),
        JournalMessage(
            id: "5e1d70c94b3a4d1f8c26a0f7e9b31c02", text: "agent: convergence",
            subject: "What the agent of @COVEY_MEMBER@ makes of the inventory file put on its host",
            explanation: """
                When every host the file names has the same one, the first of them makes the cluster what it says: with the plan,
                gates and steps of covey apply. Until then the message says which host differs, or what failed.

                What is going on now: covey status. The steps of the last operation: covey op show
                """),
        JournalMessage(
            id: "5e1d70c94b3a4d1f8c26a0f7e9b31c03", text: "agent: convergence needs an operator",
            subject: "The agent of @COVEY_MEMBER@ waits for an operator",
            explanation: """
                The inventory file put on the hosts asks for something that agents do not do by themselves: what has no way back,
                what another generation has decided already, or what wants an authority that is not here. Nothing was changed.

                The message says what to do. On the operator's machine, with the same inventory: covey apply
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a201", text: "agent: age of certificates",
            subject: "Certificates of cluster @COVEY_CLUSTER@ on @COVEY_MEMBER@ come to their end, or are good again",
            explanation: """
                From the time a certificate is due until it is renewed the agent says so, louder in the last tenth of its life.

                All at a glance: covey certs ls. New ones: covey certs renew @COVEY_MEMBER@; when they have expired: covey certs
                repair @COVEY_MEMBER@. So that they renew by themselves, name holders in the inventory: spec.tls.peerCA.key.holders
                and spec.tls.clientCA.key.holders.
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a202", text: "agent: certificates renewed",
            subject: "Certificates of cluster @COVEY_CLUSTER@ on @COVEY_MEMBER@ are new",
            explanation: """
                The agent made new keys, had them certified, and saw the new certificates on the ports of its member.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a203", text: "agent: certificates not renewed",
            subject: "Certificates of cluster @COVEY_CLUSTER@ on @COVEY_MEMBER@ were not renewed",
            explanation: """
                The message says why. The old certificates are in use, and the agent tries again every few minutes.

                A holder that holds nothing gets an authority by: covey ca distribute. By hand: covey certs renew @COVEY_MEMBER@
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a204", text: "agent: certificates issued",
            subject: "Certificates of @COVEY_MEMBER@ were issued for cluster @COVEY_CLUSTER@",
            explanation: """
                This host holds an authority of the cluster, and an agent asked it for certificates of its own host.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a205", text: "agent: age of its identity",
            subject: "The identity of the agent of @COVEY_MEMBER@ comes to its end, or is good again",
            explanation: """
                By this certificate operators and other agents know the agent. Members go on without it; nothing can be asked of
                the host when it has ended.

                While it is good: covey certs renew @COVEY_MEMBER@. When it has expired: covey enroll @COVEY_MEMBER@, or covey
                enroll --token @COVEY_MEMBER@. So that it renews by itself, name holders in the inventory.
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a206", text: "agent: identity renewed",
            subject: "The agent of @COVEY_MEMBER@ has a new identity",
            explanation: """
                The agent made a new key, had it certified, and saw the new certificate on its own port.

                Nothing needs to be done.
                """),
        JournalMessage(
            id: "b1f4d6a07c3e4f52a9c81e0d35f7a207", text: "agent: identity not renewed",
            subject: "The agent of @COVEY_MEMBER@ did not get a new identity",
            explanation: """
                The message says why. The old identity is in use, and the agent tries again every few minutes.

                A holder that holds nothing gets an authority by: covey ca distribute. By hand: covey certs renew @COVEY_MEMBER@
                """),
    ]
}
