// member add, remove, update, promote, list.

import CoveyClient
import Flags
import Foundations
import Wire

enum MemberCommands {
    static func add(_ invocation: Invocation) async throws(CtlFailure) {
        let words = invocation.words
        guard let name = words.first else { throw .arguments("member name not provided") }
        guard words.count == 1 else {
            let urls = words.filter { $0.lowercased().hasPrefix("http") }.map { ", did you mean --peer-urls=\($0)" }
            throw .arguments("too many arguments" + urls.joined())
        }
        let urls = try peerURLs(invocation)
        let session = try await CtlSession(invocation)
        let request = MemberAddRequest(peerURLs: try checked(urls), isLearner: invocation.values.bool("learner"))
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.cluster.memberAdd(request, session.options)
        }
        try session.show(.memberAdd(name: name, answer))
    }

    static func remove(_ invocation: Invocation) async throws(CtlFailure) {
        let id = try memberID(invocation)
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.cluster.memberRemove(MemberRemoveRequest(id: id), session.options)
        }
        try session.show(.memberRemove(id: id, answer))
    }

    static func update(_ invocation: Invocation) async throws(CtlFailure) {
        let id = try memberID(invocation)
        let urls = try peerURLs(invocation)
        let session = try await CtlSession(invocation)
        let request = MemberUpdateRequest(id: id, peerURLs: try checked(urls))
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.cluster.memberUpdate(request, session.options)
        }
        try session.show(.memberUpdate(id: id, answer))
    }

    static func promote(_ invocation: Invocation) async throws(CtlFailure) {
        let id = try memberID(invocation)
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.cluster.memberPromote(MemberPromoteRequest(id: id), session.options)
        }
        try session.show(.memberPromote(id: id, answer))
    }

    static func list(_ invocation: Invocation) async throws(CtlFailure) {
        let isLinearizable: Bool
        switch invocation.values.text("consistency") {
        case "l": isLinearizable = true
        case "s": isLinearizable = false
        case let other: throw CtlFailure(.badFeature, "unknown consistency flag \(GoText.quote(other))")
        }
        let session = try await CtlSession(invocation)
        let request = MemberListRequest(linearizable: isLinearizable)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.cluster.memberList(request, session.options)
        }
        try session.show(.memberList(answer))
    }

    private static func memberID(_ invocation: Invocation) throws(CtlFailure) -> UInt64 {
        try NumberWords.memberID(invocation.onlyWord("member ID is not provided"))
    }

    private static func peerURLs(_ invocation: Invocation) throws(CtlFailure) -> [String] {
        let text = invocation.values.text("peer-urls")
        guard !text.isEmpty else { throw .arguments("member peer urls not provided") }
        return text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }

    /// Checked here, sent as they are.
    private static func checked(_ urls: [String]) throws(CtlFailure) -> [String] {
        do { _ = try URLList.parse(urls) } catch { throw CtlFailure(.error, error.description) }
        return urls
    }
}
