// put, get, del, txn, compaction.

import CoveyClient
import Flags
import Foundations
import Linux
import Wire

enum KeyCommands {
    static func put(_ invocation: Invocation) async throws(CtlFailure) {
        let request = try KeyArguments.put(invocation.words, invocation.values) { StandardInput().readAll() }
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.kv.put(request, session.options)
        }
        try session.show(.put(answer))
    }

    static func get(_ invocation: Invocation) async throws(CtlFailure) {
        let request = try KeyArguments.get(invocation.words, invocation.values)
        var session = try await CtlSession(invocation)
        var pages = session.style.format == .simple ? RangePages(request) : nil
        let first = pages?.next ?? request
        var answer = try await range(session, first)
        // What can be shown is checked behind the request, as it always was.
        if invocation.values.bool("count-only") && session.style.format != .fields {
            throw .arguments("--count-only is only for `--write-out=fields`")
        }
        if invocation.values.bool("print-value-only") {
            guard session.style.format == .simple else {
                throw .arguments("print-value-only is only for `--write-out=simple`")
            }
            session.style.valueOnly = true
        }
        try session.show(.get(answer))
        pages?.took(answer)
        // Each page may take as long as a command: whoever reads a million keys to the end is not late.
        while let request = pages?.next {
            answer = try await range(session, request)
            try session.show(.get(answer))
            pages?.took(answer)
        }
    }

    private static func range(_ session: CtlSession, _ request: RangeRequest) async throws(CtlFailure) -> RangeResponse {
        try await orFail { () async throws(ClientError) in try await session.client.kv.range(request, session.options) }
    }

    static func delete(_ invocation: Invocation) async throws(CtlFailure) {
        let request = try KeyArguments.delete(invocation.words, invocation.values)
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.kv.deleteRange(request, session.options)
        }
        try session.show(.delete(answer))
    }

    static func transaction(_ invocation: Invocation) async throws(CtlFailure) {
        try invocation.noWords("txn command does not accept argument")
        let request = try readTransaction(invocation)
        let session = try await CtlSession(invocation)
        let answer = try await orFail { () async throws(ClientError) in
            try await session.client.kv.txn(request, session.options)
        }
        try session.show(.transaction(answer))
    }

    private static func readTransaction(_ invocation: Invocation) throws(CtlFailure) -> TxnRequest {
        let input = StandardInput()
        let console = invocation.console
        let isAsking = invocation.values.bool("interactive")
        let script = TransactionScript(
            nextLine: { input.readLine().map(ArgumentText.text) },
            prompt: isAsking ? { console.line($0) } : nil)
        return try script.read()
    }

    static func compact(_ invocation: Invocation) async throws(CtlFailure) {
        let word = try invocation.onlyWord("compaction command needs 1 argument")
        let revision: Int64
        do { revision = try GoText.parseInt(word) } catch {
            throw CtlFailure(.error, NumberWords.refusal("ParseInt", word, error))
        }
        let session = try await CtlSession(invocation)
        let request = CompactionRequest(revision: revision, physical: invocation.values.bool("physical"))
        // Waiting for the removal takes as long as it takes.
        let options = request.physical ? CallOptions() : session.options
        _ = try await orFail { () async throws(ClientError) in try await session.client.kv.compact(request, options) }
        session.console.line("compacted revision \(revision)")
    }
}
