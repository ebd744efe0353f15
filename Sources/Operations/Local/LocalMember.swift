// One member of a local cluster, as its supervisor sees it.

import Glibc
import Inventory
import Linux

final class LocalMember {
    enum Phase: Equatable {
        case stopped
        case running(SupervisedProcess)
        /// Ended by itself; a timer will start it.
        case waiting
    }

    let host: Inventory.Host
    let words: [String]
    let log: String
    var phase = Phase.stopped
    /// Monotonic, of the current or last run.
    var startedAt: UInt64 = 0
    /// Of the log, when the current or last run began.
    var logOffset: Int64 = 0
    var policy = RestartPolicy()
    var view: MemberView?
    /// The health last told, so that each change is told once.
    var told: MemberView.Health?

    init(_ host: Inventory.Host, words: [String], log: String) {
        self.host = host
        self.words = words
        self.log = log
    }

    var process: SupervisedProcess? { if case .running(let process) = phase { process } else { nil } }
    var isHealthy: Bool { process != nil && view?.isHealthy == true }
    var isLeader: Bool { process != nil && view?.facts?.isLeader == true }
}
