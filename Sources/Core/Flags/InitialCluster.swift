// The bootstrap map, `m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380`: names to peer URLs. A name may stand several
// times, one URL each.

package struct InitialCluster: Equatable, Sendable, CustomStringConvertible {
    /// Sorted by name; URLs sorted.
    package private(set) var members: [(name: String, urls: [MemberURL])]

    package init(members: [(name: String, urls: [MemberURL])]) {
        self.members = members.map { ($0.name, $0.urls.sorted()) }.sorted { $0.name < $1.name }
    }

    package static func parse(_ text: String) throws(URLError) -> InitialCluster {
        var names: [String] = []
        var texts: [String: [String]] = [:]
        for item in text.split(separator: ",") {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            var name = parts[0][...]
            while name.first == " " { name = name.dropFirst() }
            while name.last == " " { name = name.dropLast() }
            if texts[String(name)] == nil { names.append(String(name)) }
            texts[String(name), default: []].append(parts.count == 2 ? parts[1] : "")
        }
        var members: [(name: String, urls: [MemberURL])] = []
        for name in names {
            members.append((name, try URLList.parse(texts[name] ?? [])))
        }
        return InitialCluster(members: members)
    }

    package func urls(of name: String) -> [MemberURL]? { members.first { $0.name == name }?.urls }

    /// `name=url` pairs, sorted, comma joined.
    package var description: String {
        members.flatMap { member in member.urls.map { "\(member.name)=\($0)" } }.sorted().joined(separator: ",")
    }

    package static func == (a: InitialCluster, b: InitialCluster) -> Bool { a.description == b.description }

    /// True when no URL stands for two members.
    package var urlsAreUnique: Bool {
        let all = members.flatMap(\.urls)
        return Set(all).count == all.count
    }
}
