// `/health`, `/livez` and `/readyz`: what is checked, in which order, and the exact bodies that probes and load balancers
// of existing clusters parse.

import Foundations

/// What the checks look at; gathered by the member.
package struct HealthFacts: Equatable, Sendable {
    package enum AlarmKind: String, Equatable, Sendable { case noSpace = "NOSPACE", corrupt = "CORRUPT", unknown = "UNKNOWN" }

    package var alarms: [AlarmKind]
    package var hasLeader: Bool
    package var isLearner: Bool
    /// Error text of a local read, nil when it succeeds.
    package var serializableRead: String?
    /// Error text of a linearizable read, nil when it succeeds or was not needed.
    package var linearizableRead: String?

    package init(
        alarms: [AlarmKind] = [], hasLeader: Bool = true, isLearner: Bool = false, serializableRead: String? = nil,
        linearizableRead: String? = nil
    ) {
        self.alarms = alarms
        self.hasLeader = hasLeader
        self.isLearner = isLearner
        self.serializableRead = serializableRead
        self.linearizableRead = linearizableRead
    }
}

package enum HealthEndpoint {
    /// Why `/health` is false; nil when it is true.
    package static func reason(_ facts: HealthFacts, serializable: Bool, exclude: [String]) -> String? {
        if let alarm = facts.alarms.first(where: { !exclude.contains($0.rawValue) }) { return "ALARM \(alarm.rawValue)" }
        if !serializable && !facts.hasLeader { return "RAFT NO LEADER" }
        let failure = serializable ? facts.serializableRead : facts.linearizableRead
        return failure.map { "RANGE ERROR:\($0)" }
    }

    package static func response(reason: String?) -> PlainResponse {
        guard let reason else { return .text(200, #"{"health":"true","reason":""}"#, sniffable: true) }
        return .text(503, #"{"health":"false","reason":""# + escaped(reason) + "\"}\n")
    }

    private static func escaped(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
    }
}

/// The checks behind `/livez` and `/readyz`, each also reachable alone as a sub-path.
package enum HealthCheck: String, CaseIterable, Sendable {
    case dataCorruption = "data_corruption"
    case serializableRead = "serializable_read"
    case linearizableRead = "linearizable_read"
    case nonLearner = "non_learner"

    package static let live: [HealthCheck] = [.serializableRead]
    package static let ready: [HealthCheck] = [.dataCorruption, .serializableRead, .linearizableRead, .nonLearner]

    /// Nil when the check passes, otherwise why not.
    package func failure(_ facts: HealthFacts) -> String? {
        switch self {
        case .dataCorruption: facts.alarms.contains(.corrupt) ? "alarm activated: CORRUPT" : nil
        case .serializableRead: facts.serializableRead
        case .linearizableRead: facts.linearizableRead
        case .nonLearner: facts.isLearner ? "not supported for learner" : nil
        }
    }

    package static func response(_ checks: [HealthCheck], _ facts: HealthFacts, verbose: Bool) -> PlainResponse {
        var lines = ""
        var failed = false
        for check in checks {
            if let failure = check.failure(facts) {
                failed = true
                lines += "[-]\(check.rawValue) failed: \(failure)\n"
            } else {
                lines += "[+]\(check.rawValue) ok\n"
            }
        }
        return failed ? .text(503, lines + "\n") : .text(200, (verbose ? lines : "") + "ok\n")
    }
}
