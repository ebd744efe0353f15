// Keys. Reads are answered from applied state: at once when they are serializable or this member is the only voter, else
// when the leader has confirmed how far that must be. Writes are checked (in the order in which clients see the errors)
// and proposed.

import Connections
import Foundations
import GRPC
import MVCC
import State
import Wire

extension ClientAPI {
    func addKV() {
        add("/etcdserverpb.KV/Range") { [unowned self] caller, message, reply in range(caller, message, reply) }
        add("/etcdserverpb.KV/Put") { [unowned self] caller, message, reply in put(caller, message, reply) }
        add("/etcdserverpb.KV/DeleteRange") { [unowned self] caller, message, reply in deleteRange(caller, message, reply) }
        add("/etcdserverpb.KV/Txn") { [unowned self] caller, message, reply in txn(caller, message, reply) }
        add("/etcdserverpb.KV/Compact", CompactionRequest.self) {
            [unowned self] (caller, request, reply) throws(GRPCStatus) in
            let identity = try requireAdmin(caller)
            member.propose(
                RequestKind.compaction, request.encoded().rawSpan, identity: identity,
                compactsTo: request.physical ? request.revision : 0, reply)
        }
        add(stream: "/etcdserverpb.KV/RangeStream") { [unowned self] caller, outlet in RangeStream(self, caller, outlet) }
    }

    private func failing(_ reply: Reply, _ body: () throws(GRPCStatus) -> Void) {
        do throws(GRPCStatus) { try body() } catch { member.respond(reply, .failure(error)) }
    }

    private func undecodable(_ error: WireError) -> GRPCStatus { EtcdError.undecodableRequest("\(error)") }

    private func range(_ caller: Caller, _ message: RawSpan, _ reply: Reply) {
        if member.readsAtOnce { return rangeNow(caller, message, reply) }
        failing(reply) { () throws(GRPCStatus) in
            let isSerializable: Bool
            do {
                let request = try RangeRequestView(decoding: message)
                try RequestChecks.range(request)
                isSerializable = request.serializable
            } catch let error as WireError { throw undecodable(error) } catch let error as GRPCStatus { throw error } catch {
                unreachable("\(error)")
            }
            if isSerializable { return rangeNow(caller, message, reply) }
            later(message, reply) { [unowned self] message in rangeNow(caller, message, reply) }
        }
    }

    /// Answers once this member has applied everything that was acknowledged anywhere before now.
    private func later(_ message: RawSpan, _ reply: Reply, _ answer: @escaping (RawSpan) -> Void) {
        let copy = Bytes(message)
        member.linearizable { [unowned self] failure in
            if let failure { return member.respond(reply, .failure(failure)) }
            answer(copy.rawSpan)
        }
    }

    private func rangeNow(_ caller: Caller, _ message: RawSpan, _ reply: Reply) {
        switch reply {
        case .call(let call):
            server.replyOrFail(call, isLarge: hasRangeEnd(message)) { (output) throws(GRPCStatus) in
                try answerRange(caller, message, &output)
            }
        default:
            failing(reply) { () throws(GRPCStatus) in
                var output: Bytes = []
                try answerRange(caller, message, &output)
                member.respond(reply, .success(output))
            }
        }
    }

    /// As clients encode it: a key, then an end. A guess that costs nothing; another order of fields is as right.
    private func hasRangeEnd(_ message: RawSpan) -> Bool {
        guard message.byteCount > 2, message[byte: 0] == 0x0a, message[byte: 1] < 0x80 else { return false }
        let next = 2 + Int(message[byte: 1])
        return message.byteCount > next && message[byte: next] == 0x12
    }

    private func answerRange(_ caller: Caller, _ message: RawSpan, _ output: inout Bytes) throws(GRPCStatus) {
        do {
            let request = try RangeRequestView(decoding: message)
            try RequestChecks.range(request)
            if caller.isInternal {
                try state.answerRange(request, into: &output)
            } else {
                try state.range(request, try identify(caller), into: &output)
            }
        } catch let error as WireError { throw undecodable(error) } catch let error as GRPCStatus { throw error } catch {
            unreachable("\(error)")
        }
    }

    private func put(_ caller: Caller, _ message: RawSpan, _ reply: Reply) {
        failing(reply) { () throws(GRPCStatus) in
            let identity: Identity
            do {
                let request = try PutRequestView(decoding: message)
                try spend(QuotaCost.put(keyBytes: request.key.byteCount, valueBytes: request.value.byteCount))
                try RequestChecks.put(request)
                identity = try identify(caller)
            } catch let error as WireError { throw undecodable(error) } catch let error as GRPCStatus { throw error } catch {
                unreachable("\(error)")
            }
            member.propose(RequestKind.put, message, identity: identity, reply)
        }
    }

    private func deleteRange(_ caller: Caller, _ message: RawSpan, _ reply: Reply) {
        failing(reply) { () throws(GRPCStatus) in
            let identity: Identity
            do {
                let request = try DeleteRangeRequestView(decoding: message)
                try RequestChecks.deleteRange(request)
                identity = try identify(caller)
            } catch let error as WireError { throw undecodable(error) } catch let error as GRPCStatus { throw error } catch {
                unreachable("\(error)")
            }
            member.propose(RequestKind.deleteRange, message, identity: identity, reply)
        }
    }

    private func txn(_ caller: Caller, _ message: RawSpan, _ reply: Reply) {
        failing(reply) { () throws(GRPCStatus) in
            try spend(QuotaCost.txn(message))
            try RequestChecks.txn(message, operationsMax: member.settings.maxTxnOperations)
            let identity = try identify(caller)
            if TxnRules.isReadOnly(message) {
                if member.readsAtOnce || TxnRules.isSerializable(message) {
                    return try readOnlyTxn(message, identity, reply)
                }
                return later(message, reply) { [unowned self] message in
                    failing(reply) { () throws(GRPCStatus) in try readOnlyTxn(message, try identify(caller), reply) }
                }
            }
            do throws(GRPCStatus) { try state.checkTxnProposal(message, identity) } catch {
                guard error == EtcdError.futureRevision, !member.readsAtOnce else { throw error }
                // The revision may be there already, only not here yet.
                return later(message, reply) { [unowned self] message in
                    failing(reply) { () throws(GRPCStatus) in
                        let identity = try identify(caller)
                        try state.checkTxnProposal(message, identity)
                        member.propose(RequestKind.txn, message, identity: identity, reply)
                    }
                }
            }
            member.propose(RequestKind.txn, message, identity: identity, reply)
        }
    }

    private func readOnlyTxn(_ message: RawSpan, _ identity: Identity, _ reply: Reply) throws(GRPCStatus) {
        if case .call(let call) = reply {
            return server.replyOrFail(call) { (output) throws(GRPCStatus) in
                try state.readOnlyTxn(message, identity, into: &output)
            }
        }
        var output: Bytes = []
        try state.readOnlyTxn(message, identity, into: &output)
        member.respond(reply, .success(output))
    }

    /// Refuses what would outgrow the quota; the first refusal raises the alarm.
    func spend(_ cost: Int) throws(GRPCStatus) {
        guard cost > 0, !member.hasRoom(for: cost) else { return }
        member.raiseNoSpace()
        throw EtcdError.noSpace
    }
}

/// A range in pieces, each sent when the one before has left: bounded memory for any size.
private final class RangeStream: ServiceStream {
    private let api: ClientAPI
    private let caller: Caller
    private let outlet: any StreamOutlet
    private var cursor: RangeCursor?
    private var keysMax = 10
    private var isOver = false

    init(_ api: ClientAPI, _ caller: Caller, _ outlet: any StreamOutlet) {
        self.api = api
        self.caller = caller
        self.outlet = outlet
    }

    func message(_ message: RawSpan) {
        do {
            let request = try RangeRequestView(decoding: message)
            try RequestChecks.range(request)
            let options = RangeOptions(request)
            if options.target != .key || options.order == .descend {
                throw GRPCStatus(.unimplemented, "etcdserver: RangeStream does not support custom sort orders")
            }
            if options.minModRevision != 0 || options.maxModRevision != 0 || options.minCreateRevision != 0
                || options.maxCreateRevision != 0
            {
                throw GRPCStatus(.unimplemented, "etcdserver: RangeStream does not support revision filters")
            }
            if request.serializable || api.member.readsAtOnce { return try begin(request, options) }
            let copy = Bytes(message)
            api.member.linearizable { [weak self] failure in
                guard let self, !isOver else { return }
                if let failure { return end(failure) }
                do { try begin(try RangeRequestView(decoding: copy.rawSpan), options) } catch { self.failed(error) }
            }
        } catch { failed(error) }
    }

    private func begin(_ request: borrowing RangeRequestView, _ options: RangeOptions) throws {
        try api.state.authoriseRange(request, try api.identify(caller))
        cursor = try api.state.kv.openRange(request.key, request.rangeEnd, options)
        step()
    }

    private func failed(_ error: any Error) {
        do { throw error } catch let error as GRPCStatus { end(error) } catch let error as KeyValueError { end(GRPCStatus(error)) } catch {
            end(EtcdError.undecodableRequest("\(error)"))
        }
    }

    private func step() {
        while !isOver, var reading = cursor {
            var pairs: Bytes = []
            do throws(KeyValueError) {
                _ = try api.state.kv.read(&reading, keysMax: keysMax, bytesMax: 2 << 20, into: &pairs)
            } catch { return end(GRPCStatus(error)) }
            cursor = reading
            var tail = RangeResponse()
            if reading.isFinished {
                tail.header = api.header()
                tail.header?.revision = reading.headerRevision
                tail.more = reading.more
                tail.count = reading.count
            }
            let body = tail.encoded() + pairs
            let queued = outlet.send { output in output.appendWire(1, message: body.rawSpan) }
            guard let queued else { return }
            if reading.isFinished { return end(.ok) }
            if pairs.count < api.member.settings.maxRequestBytes / 2 { keysMax *= 2 }
            if pairs.count > api.member.settings.maxRequestBytes * 2 { keysMax = max(1, keysMax / 2) }
            if queued > 1 << 20 { return outlet.notifyWritable() }
        }
    }

    private func end(_ status: GRPCStatus) {
        guard !isOver else { return }
        isOver = true
        outlet.finish(status)
    }

    func halfClosed() {}
    func cancelled() { isOver = true }
    func writable() { step() }
}
