// A state machine over a store in memory, and the small things tests need around it.

import Foundation
import Foundations
import GRPC
import MVCC
import Testing
import Wire

@testable import State

/// "Hashes" that can be read: tests of rules do not need bcrypt's price.
struct ReadableHasher: PasswordHasher {
    func hash(_ password: Bytes) -> Bytes? { Bytes("hash:".utf8) + password }
    func matches(_ password: Bytes, hash: Bytes) -> Bool { self.hash(password) == hash }
}

enum Recorded {
    static let data = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Data")
    static let vectors = data.deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("ServerTests/Data/vectors")

    static func bytes(_ name: String) throws -> Bytes { Bytes(try Data(contentsOf: data.appendingPathComponent(name))) }

    /// Lines of a text file, split at blanks.
    static func lines(_ name: String) throws -> [[String]] {
        String(decoding: try bytes(name), as: UTF8.self).split(separator: "\n").map {
            $0.split(separator: " ").map(String.init)
        }
    }

    static func hex(_ text: String) throws -> Bytes { text == "-" ? [] : try #require(Hexadecimal.decode(text)) }
}

final class TestWorld {
    let store: InMemoryStore
    let state: StateMachine
    private(set) var index: LogIndex
    private var requestID: UInt64 = 100

    static func settings(member: UInt64 = 1, cluster: UInt64 = 2) -> StateMachine.Settings {
        StateMachine.Settings(member: MemberID(member), cluster: ClusterID(cluster))
    }

    init(_ store: InMemoryStore = InMemoryStore(), settings: StateMachine.Settings = settings()) throws {
        self.store = store
        state = try StateMachine(store, settings: settings, hasher: ReadableHasher())
        index = state.appliedIndex
        state.raftTerm = 2
    }

    /// Gives everything applied so far to the store.
    func submit() {
        let batch = state.takeBatch()
        store.submit(batch)
        state.batchCommitted(store.committedBatch)
        state.kv.endTurn()
    }

    /// The same machine after a restart from what was submitted.
    func restarted() throws -> TestWorld {
        submit()
        return try TestWorld(store.crashed(), settings: state.settings)
    }

    enum Answer: Equatable {
        case response(Bytes)
        case failed(GRPCStatus)
        case silent
    }

    @discardableResult
    func apply(
        _ kind: InternalRaftRequest.Kind, as identity: Identity = .anonymous, awaited: Bool = true, at wanted: LogIndex? = nil
    ) -> (Applied, Answer) {
        requestID += 1
        let header = RequestHeader(
            id: requestID, username: String(decoding: identity.user, as: UTF8.self),
            authRevision: identity.authRevision)
        return apply(data: InternalRaftRequest(kind: kind, header: header).encoded(), awaited: awaited, at: wanted)
    }

    @discardableResult
    func apply(data: Bytes, awaited: Bool = true, at wanted: LogIndex? = nil) -> (Applied, Answer) {
        index = max(wanted ?? 0, index + 1)
        var output: Bytes = []
        let applied = state.apply(index: index, term: 2, data: data.rawSpan, isAwaited: awaited, output: &output)
        switch applied.outcome {
        case .silent: return (applied, .silent)
        case .answered: return (applied, .response(output))
        case .failed(let reason):
            #expect(output.isEmpty, "a failure leaves nothing in the output")
            return (applied, .failed(reason))
        }
    }

    func expectFailure(
        _ kind: InternalRaftRequest.Kind, as identity: Identity = .anonymous, _ status: GRPCStatus,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let (_, answer) = apply(kind, as: identity)
        #expect(answer == .failed(status), sourceLocation: sourceLocation)
    }

    func expectSuccess(
        _ kind: InternalRaftRequest.Kind, as identity: Identity = .anonymous,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let (_, answer) = apply(kind, as: identity)
        if case .response = answer { return }
        Issue.record("\(answer)", sourceLocation: sourceLocation)
    }

    /// Everything in the store, as "table key value".
    static func dump(_ view: any StoreView) -> [String] {
        StoreTable.allCases.flatMap { table in
            var rows: [String] = []
            view.scan(table, from: [], to: nil) { key, value in
                rows.append("\(table.bucketName) \(Hexadecimal.encode(Bytes(key))) \(Hexadecimal.encode(Bytes(value)))")
                return true
            }
            return rows
        }
    }
}

extension Identity {
    init(_ user: String, _ revision: UInt64) { self.init(user: Bytes(user.utf8), authRevision: revision) }
}

func bytes(_ text: String) -> Bytes { Bytes(text.utf8) }
