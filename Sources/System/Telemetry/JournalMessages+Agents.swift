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
    ]
}
