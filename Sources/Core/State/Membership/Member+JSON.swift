// The JSON forms of membership: what configuration change entries carry, what `/members` shows and the store keeps, and
// what members publish. Byte-exact, since entries fabricated at first boot are part of the log on every member.
//
//     {"id":13195394291058371180,"peerURLs":["http://127.0.0.1:2380"],"isLearner":true,"name":"n","clientURLs":["…"]}
//
// Absent when empty or false: isLearner, name, clientURLs. A promotion carries `"peerURLs":null` and `"isPromote":true`.

import Foundations
import JSON

extension Member {
    package var json: Bytes {
        GoJSON.object { writer in
            writer.name("id")
            writer.number(id.rawValue)
            writer.strings("peerURLs", peerURLs)
            if isLearner {
                writer.name("isLearner")
                writer.bool(true)
            }
            writeAttributes(&writer)
        }
    }

    private func writeAttributes(_ writer: inout JSONWriter) {
        if !name.isEmpty { writer.string("name", name) }
        if !clientURLs.isEmpty { writer.strings("clientURLs", clientURLs) }
    }

    /// The context of an entry that adds this member.
    package var additionContext: Bytes { json }

    package static func promotionContext(_ id: MemberID) -> Bytes {
        GoJSON.object { writer in
            writer.name("id")
            writer.number(id.rawValue)
            writer.strings("peerURLs", [])
            writer.name("isPromote")
            writer.bool(true)
        }
    }

    /// The context of an entry that changes URLs. It says that a learner is one, because releases before 3.5.30 take
    /// the whole description from it.
    package static func updateContext(_ id: MemberID, peerURLs: [String], isLearner: Bool) -> Bytes {
        Member(id: id, peerURLs: peerURLs, isLearner: isLearner).json
    }

    /// What a member publishes under its attributes.
    package var attributesJSON: Bytes { GoJSON.object { writeAttributes(&$0) } }

    /// What raft needs to know of it, as old snapshots keep it.
    package var raftAttributesJSON: Bytes {
        GoJSON.object { writer in
            writer.strings("peerURLs", peerURLs)
            if isLearner {
                writer.name("isLearner")
                writer.bool(true)
            }
        }
    }

    /// Nil when the text is not a member: no JSON object, or a known field of the wrong type.
    package init?(json: Bytes) {
        guard let document = GoJSON.parse(json), let id = document.number("id"),
            let peerURLs = document.strings("peerURLs"), let isLearner = document.flag("isLearner"),
            let name = document.string("name"), let clientURLs = document.strings("clientURLs")
        else { return nil }
        self.init(id: MemberID(id), peerURLs: peerURLs, isLearner: isLearner, name: name, clientURLs: clientURLs)
    }

    /// Takes name and client URLs from a published document. False: it is none.
    package mutating func publish(attributesJSON: Bytes) -> Bool {
        guard let document = GoJSON.parse(attributesJSON), let name = document.string("name"),
            let clientURLs = document.strings("clientURLs")
        else { return false }
        self.name = name
        self.clientURLs = clientURLs
        return true
    }
}

extension Membership.Change {
    /// The change that an entry of this kind (0 add, 1 remove, 2 update, 3 add as learner) with this context wants. Nil
    /// when the context does not fit: real members stop on such an entry, so nobody can have accepted it.
    package init?(kind: Int32, node: MemberID, context: Bytes) {
        if kind == 1 {
            self = .remove(node)
            return
        }
        guard let member = Member(json: context), member.id == node,
            let isPromote = GoJSON.parse(context)?.flag("isPromote")
        else { return nil }
        switch kind {
        case 0, 3: self = isPromote ? .promote(node) : .add(member)
        case 2: self = .update(node, peerURLs: member.peerURLs)
        default: return nil
        }
    }

    /// Kind and context of the entry that proposes this change.
    package func entry(isLearner: Bool) -> (kind: Int32, context: Bytes?) {
        switch self {
        case .add(let member): (member.isLearner ? 3 : 0, member.additionContext)
        case .promote(let id): (0, Member.promotionContext(id))
        case .remove: (1, nil)
        case .update(let id, let peerURLs): (2, Member.updateContext(id, peerURLs: peerURLs, isLearner: isLearner))
        }
    }
}

extension Membership {
    /// The list as `GET /members` answers it.
    package var membersJSON: Bytes {
        var text = Bytes("[".utf8)
        for (i, member) in members.enumerated() {
            if i > 0 { text.append(0x2c) }
            text += member.json
        }
        text.append(0x5d)
        return text
    }
}

extension Membership.Downgrade {
    package var json: Bytes {
        GoJSON.object { writer in
            writer.string("target-version", target)
            writer.name("enabled")
            writer.bool(isEnabled)
        }
    }

    package init?(json: Bytes) {
        guard let document = GoJSON.parse(json), let target = document.string("target-version"),
            let isEnabled = document.flag("enabled")
        else { return nil }
        self.init(isEnabled: isEnabled, target: target)
    }
}
