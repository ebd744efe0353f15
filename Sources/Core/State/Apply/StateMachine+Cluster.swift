// Alarms, published attributes, cluster version, downgrade; and the requests of etcd's second-version API, of which two
// still carry the same facts in clusters with members before 3.6 (apply-semantics 1.4).

import Foundations
import GRPC
import MVCC
import Wire

extension StateMachine {
    func applyAlarm(_ request: AlarmRequest, _ isAwaited: Bool, _ output: inout Bytes) -> Applied.Effect {
        let alarm = Alarms.Alarm(member: request.memberID, type: request.alarm)
        let listed: [Alarms.Alarm]
        var effect = Applied.Effect.none
        switch request.action {
        case .get:
            listed = alarms.list(request.alarm)
        case .activate:
            listed = alarms.activate(alarm, into: &kv.batch).map { [$0] } ?? []
            if !listed.isEmpty { effect = .alarmsChanged }
        case .deactivate:
            listed = alarms.deactivate(alarm, into: &kv.batch).map { [$0] } ?? []
            if !listed.isEmpty { effect = .alarmsChanged }
        default:
            listed = []
        }
        if isAwaited {
            let members = listed.map { AlarmMember(memberID: $0.member, alarm: $0.type) }
            AlarmResponse(header: responseHeader, alarms: members).append(to: &output)
        }
        return effect
    }

    func applyClusterVersion(_ text: String, index: LogIndex) throws(Refusal) -> Applied.Effect {
        guard let version = ClusterVersion(text) else { throw .halt(.undecodableEntry(index: index)) }
        guard version.release <= settings.serverVersion.release else {
            throw .halt(.clusterVersionAboveOwn(cluster: version, own: settings.serverVersion))
        }
        membership.setVersion(version, into: &kv.batch)
        return .clusterVersionChanged(version)
    }

    func applyAttributes(_ request: MembershipPB.ClusterMemberAttrSetRequest) {
        // Of a member that was removed meanwhile: without effect, as on every other member.
        _ = membership.publish(
            MemberID(request.memberID), name: request.memberAttributes?.name ?? "",
            clientURLs: request.memberAttributes?.clientUrls ?? [], into: &kv.batch)
    }

    func applyDowngrade(_ request: MembershipPB.DowngradeInfoSetRequest) {
        let target = request.enabled ? request.ver : ""
        membership.setDowngrade(Membership.Downgrade(isEnabled: request.enabled, target: target), into: &kv.batch)
    }

    // MARK: second-version requests

    /// The entry is not an InternalRaftRequest, or holds one of these: bare, as members write it, or wrapped.
    func applyLegacy(_ data: RawSpan, index: LogIndex) -> Applied {
        guard let request = legacyRequest(data) else { return Applied(effect: .halt(.undecodableEntry(index: index))) }
        var applied = Applied(requestID: request.id)
        guard request.method == "PUT" else { return applied }
        if request.path == "/0/version" {
            do {
                applied.effect = try applyClusterVersion(request.val, index: index)
            } catch {
                switch error {
                case .halt(let reason): applied.effect = .halt(reason)
                case .failed(let reason): applied.outcome = .failed(reason)
                }
            }
        } else if let id = memberPublished(request.path) {
            var member = membership[id] ?? Member(id: id, peerURLs: [])
            guard member.publish(attributesJSON: Bytes(request.val.utf8)) else {
                return Applied(requestID: request.id, effect: .halt(.undecodableEntry(index: index)))
            }
            _ = membership.publish(id, name: member.name, clientURLs: member.clientURLs, into: &kv.batch)
        }
        // Anything else belongs to v2 clients; their tree is not kept.
        return applied
    }

    private func legacyRequest(_ data: RawSpan) -> Request? {
        if let bare = try? Request(decoding: data), !bare.method.isEmpty { return bare }
        guard let entry = try? InternalRaftRequest(decoding: data), case .v2(let wrapped)? = entry.kind else { return nil }
        return wrapped
    }

    /// `/0/members/<id>/attributes`
    private func memberPublished(_ path: String) -> MemberID? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == "0", parts[2] == "members", parts[4] == "attributes"
        else { return nil }
        return MemberID(hexadecimal: parts[3])
    }
}

/// Entries that publish facts in the form every release before 3.7 understands. All scalars are always written.
package enum LegacyEntry {
    package static func publish(requestID: UInt64, _ member: Member) -> Bytes {
        put(requestID, "/0/members/\(member.id)/attributes", String(decoding: member.attributesJSON, as: UTF8.self))
    }

    package static func clusterVersion(requestID: UInt64, _ version: ClusterVersion) -> Bytes {
        put(requestID, "/0/version", version.description)
    }

    private static func put(_ requestID: UInt64, _ path: String, _ value: String) -> Bytes {
        var request = Request()
        request.id = requestID
        request.method = "PUT"
        request.path = path
        request.val = value
        return request.encoded()
    }
}
