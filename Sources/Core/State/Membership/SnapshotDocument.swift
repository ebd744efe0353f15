// The document inside a raft snapshot: members, removed members and cluster version as a tree of JSON nodes, a relic of
// etcd's second-version store that its members up to 3.5 still take their membership from (apply-semantics 8).
//
//     /0/members/<id>/raftAttributes   {"peerURLs":[...],"isLearner":true}
//     /0/members/<id>/attributes       {"name":"n","clientURLs":[...]}      once the member has published them
//     /0/removed_members/<id>
//     /0/version                       3.5.0
//     /1                               (users' data in that store; empty)
//
// The form we write is the smallest that real 3.4.23 and 3.5.1 members were seen to accept and to go on from. It has no
// WatcherHub: with one that is not complete they crash later.

import Foundations
import JSON

/// Why a document cannot be taken over.
package enum SnapshotDocumentError: Error, Equatable, CustomStringConvertible {
    case notJSON
    case noRoot
    case badMember(path: String)
    case badVersion(String)
    /// Keys of the second-version API would be lost.
    case holdsUserData

    package var description: String {
        switch self {
        case .notJSON: "the membership document of the snapshot is not JSON"
        case .noRoot: "the membership document of the snapshot has no tree of members"
        case .badMember(let path): "the membership document of the snapshot is damaged at \(path)"
        case .badVersion(let text): "the cluster version in the snapshot, \(text), is no version"
        case .holdsUserData: "the snapshot holds keys of the v2 API, which this server does not keep"
        }
    }
}

extension Membership {
    package var snapshotDocument: Bytes {
        var tree = Node.directory([:])
        for member in members {
            let path = ["0", "members", member.id.description]
            tree.set(path + ["raftAttributes"], String(decoding: member.raftAttributesJSON, as: UTF8.self))
            if member.isStarted {
                tree.set(path + ["attributes"], String(decoding: member.attributesJSON, as: UTF8.self))
            }
        }
        for id in removed { tree.set(["0", "removed_members", id.description], "") }
        if let version { tree.set(["0", "version"], version.description) }
        tree.makeDirectory(["0", "members"])
        tree.makeDirectory(["1"])
        return GoJSON.object { writer in
            writer.name("Root")
            tree.write(path: "/", &writer)
        }
    }

    /// Members, removed members and version of a document.
    package init(learnersMax: Int = learnersMaxDefault, snapshotDocument: Bytes) throws(SnapshotDocumentError) {
        guard let document = GoJSON.parse(snapshotDocument) else { throw .notJSON }
        guard let root = document["Root"], let base = root.child("0") else { throw .noRoot }
        if let users = root.child("1"), !users.children.isEmpty { throw .holdsUserData }

        var members: [Member] = []
        for (name, node) in base.child("members")?.children ?? [] {
            members.append(try Membership.member(name, node))
        }
        var removed: Set<MemberID> = []
        for (name, _) in base.child("removed_members")?.children ?? [] {
            guard let id = MemberID(hexadecimal: name) else { throw .badMember(path: "/0/removed_members/\(name)") }
            removed.insert(id)
        }
        var version: ClusterVersion?
        if let text = base.child("version")?.string("Value") {
            guard let parsed = ClusterVersion(text) else { throw .badVersion(text) }
            version = parsed
        }
        self.init(learnersMax: learnersMax, members: members, removed: removed, version: version)
    }

    private static func member(_ name: String, _ node: JSONValue) throws(SnapshotDocumentError) -> Member {
        let damaged = SnapshotDocumentError.badMember(path: "/0/members/\(name)")
        guard let id = MemberID(hexadecimal: name),
            let raftText = node.child("raftAttributes")?.string("Value"),
            let raft = GoJSON.parse(Bytes(raftText.utf8)), let peerURLs = raft.strings("peerURLs"),
            let isLearner = raft.flag("isLearner")
        else { throw damaged }
        var member = Member(id: id, peerURLs: peerURLs, isLearner: isLearner)
        if let text = node.child("attributes")?.string("Value") {
            guard member.publish(attributesJSON: Bytes(text.utf8)) else { throw damaged }
        }
        return member
    }
}

extension JSONValue {
    /// Nodes below this one, by name. Names are keys of a map, so they fit exactly or not at all.
    fileprivate var children: [(String, JSONValue)] {
        (self["Children"]?.members ?? []).map { ($0.name, $0.value) }
    }

    fileprivate func child(_ name: String) -> JSONValue? { children.last { $0.0 == name }?.1 }
}

/// A node of the tree to be written.
private enum Node {
    case leaf(String)
    case directory([String: Node])

    mutating func set(_ path: [String], _ value: String) {
        change(path[...]) { $0 = .leaf(value) }
    }

    mutating func makeDirectory(_ path: [String]) { change(path[...]) { _ in } }

    private mutating func change(_ path: ArraySlice<String>, _ body: (inout Node) -> Void) {
        guard let name = path.first else { return body(&self) }
        guard case .directory(var children) = self else { unreachable("a leaf has nothing below it") }
        children[name, default: .directory([:])].change(path.dropFirst(), body)
        self = .directory(children)
    }

    func write(path: String, _ writer: inout JSONWriter) {
        writer.beginObject()
        writer.string("Path", path)
        switch self {
        case .leaf(let value):
            writer.string("Value", value)
        case .directory(let children):
            writer.name("Children")
            writer.beginObject()
            for (name, child) in children.sorted(by: { precedes(Bytes($0.key.utf8), Bytes($1.key.utf8)) }) {
                writer.name(name)
                child.write(path: path == "/" ? "/" + name : path + "/" + name, &writer)
            }
            writer.endObject()
        }
        writer.endObject()
    }
}
