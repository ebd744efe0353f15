// What a service with the v2 keys API answers:
//
//     {"action":"get","node":{"key":"/t/_config/size","value":"3","modifiedIndex":5,"createdIndex":5}}
//     {"action":"get","node":{"key":"/t","dir":true,"nodes":[{"key":"/t/8e9e05c5...","value":"a=http://10.0.0.1:2380",...}]}}
//     {"errorCode":100,"message":"Key not found","cause":"/t","index":18}

import Foundations
import JSON

enum KeysAnswer: Equatable {
    struct Refusal: Equatable {
        static let keyNotFound: Int64 = 100
        static let nodeExists: Int64 = 105

        var code: Int64
        /// `100: Key not found (/t) [18]`
        var text: String

        var failure: ClusterDiscovery.Failure { ClusterDiscovery.Failure(description: "discovery: \(text)") }
    }

    /// The service itself is in trouble, which passes.
    struct Unavailable: Error, Equatable, CustomStringConvertible {
        var status: Int
        var description: String { "the discovery service answers with status \(status)" }
    }

    /// `index`: of the service's last change when it answered.
    case node(JSONValue, index: Int64?)
    case refused(Refusal)

    static let redirectsMax = 10

    init(_ answer: AwaitedRequests.Answer) throws {
        if answer.status / 100 == 5 { throw Unavailable(status: answer.status) }
        // What is no JSON is another page's.
        guard let json = try? JSONValue(parsing: answer.body) else { throw ClusterDiscovery.Failure.badEndpoint }
        if answer.status == 200 || answer.status == 201 {
            guard let node = json["node"], node.members != nil else { throw ClusterDiscovery.Failure.badEndpoint }
            self = .node(node, index: answer.index)
        } else {
            guard let code = json["errorCode"]?.int64 else { throw ClusterDiscovery.Failure.badEndpoint }
            let (message, cause) = (json["message"]?.string ?? "", json["cause"]?.string ?? "")
            self = .refused(Refusal(code: code, text: "\(code): \(message) (\(cause)) [\(json["index"]?.int64 ?? 0)]"))
        }
    }

    /// Nil when it is no node's.
    var value: String? { if case .node(let node, _) = self { node["value"]?.string ?? "" } else { nil } }

    /// Of the answer for `_config/size`.
    func size() throws(ClusterDiscovery.Failure) -> Int {
        switch self {
        case .node: return try ClusterDiscovery.Seen.size(value ?? "")
        case .refused(let refusal) where refusal.code == Refusal.keyNotFound:
            throw ClusterDiscovery.Failure(description: "\(ClusterDiscovery.Failure.noSize): \(refusal.text)")
        case .refused(let refusal): throw refusal.failure
        }
    }

    /// Of the answer for the directory.
    func seen(size: Int) throws(ClusterDiscovery.Failure) -> ClusterDiscovery.Seen {
        switch self {
        case .refused(let refusal): throw refusal.failure
        case .node(let node, let index):
            var members: [ClusterDiscovery.Seen.Member] = []
            for entry in node["nodes"]?.array ?? [] {
                guard let key = entry["key"]?.string, let created = entry["createdIndex"]?.int64 else { throw .badEndpoint }
                let id = String(key.split(separator: "/").last ?? "")
                if id == "_config" { continue }
                members.append(.init(id: id, text: entry["value"]?.string ?? "", createRevision: created))
            }
            return ClusterDiscovery.Seen(size: size, members: members, revision: index)
        }
    }
}
