// Watch streams: requests to the hub, deliveries from the hub to messages. A stream whose client does not keep up takes
// no more deliveries once it has enough waiting; its watchers then read on from the store when there is room again.

import Connections
import Foundations
import GRPC
import Linux
import MVCC
import State
import Wire

package final class WatchService: WatchSink {
    /// Bytes that may wait on a stream before its watchers are parked.
    static let queueBytesMax = 4 << 20

    private unowned let api: ClientAPI
    private var streams: [UInt64: WatchStream] = [:]
    private var nextTag: UInt64 = 1

    init(_ api: ClientAPI) { self.api = api }

    package var streamCount: Int { streams.count }

    func add(_ stream: WatchStream) -> UInt64 {
        let tag = nextTag
        nextTag += 1
        streams[tag] = stream
        return tag
    }

    func remove(_ tag: UInt64) { streams[tag] = nil }

    package func deliver(_ delivery: WatchDelivery) -> Bool {
        guard let stream = streams[delivery.stream] else { return true }
        return stream.deliver(delivery)
    }
}

extension ClientAPI {
    func addWatch() {
        add(stream: "/etcdserverpb.Watch/Watch") { [unowned self] caller, outlet in WatchStream(self, caller, outlet) }
    }
}

final class WatchStream: ServiceStream {
    private let api: ClientAPI
    private let caller: Caller
    private let outlet: any StreamOutlet
    private var number: WatchHub.StreamNumber
    private var tag: UInt64 = 0
    private var queued = 0
    private var isOver = false
    private var progressTimer: TimerID?

    init(_ api: ClientAPI, _ caller: Caller, _ outlet: any StreamOutlet) {
        self.api = api
        self.caller = caller
        self.outlet = outlet
        number = 0
        tag = api.watchService.add(self)
        number = api.member.hub.open(tag: tag)
        scheduleProgress()
    }

    // MARK: Requests

    func message(_ message: RawSpan) {
        guard !isOver else { return }
        let request: WatchRequest
        do { request = try WatchRequest(decoding: message) } catch {
            return end(EtcdError.undecodableRequest("\(error)"))
        }
        switch request.requestUnion {
        case .createRequest(let create): self.create(create)
        case .cancelRequest(let cancel):
            if api.member.hub.cancel(cancel.watchId, on: number) {
                answer {
                    $0.watchId = cancel.watchId; $0.canceled = true
                }
            }
        case .progressRequest: api.member.hub.progressRequest(number, api.state.kv, api.watchService)
        case nil: break
        }
    }

    private func create(_ create: WatchCreateRequest) {
        let key = create.key.isEmpty ? [0] : create.key
        do throws(GRPCStatus) {
            let identity = try api.identify(caller)
            try api.state.auth.check(identity, .read, key: key, rangeEnd: create.rangeEnd)
        } catch { return refuse("\(error)") }
        do throws(WatchError) {
            let id = try api.member.hub.create(WatcherRequest(create), on: number, api.state.kv)
            answer {
                $0.watchId = id; $0.created = true
            }
            if api.member.hub.hasLagging { api.member.loop.turnAgain() }
        } catch {
            switch error {
            case .duplicateID: refuse(WatchCancelReason.duplicateID)
            case .emptyRange: refuse(WatchCancelReason.emptyRange)
            case .negativeStart: refuse(WatchCancelReason.compacted)
            }
        }
    }

    private func refuse(_ reason: String) {
        answer {
            $0.watchId = -1
            $0.created = true
            $0.canceled = true
            $0.cancelReason = reason
        }
    }

    private func answer(_ fill: (inout WatchResponse) -> Void) {
        var response = WatchResponse()
        response.header = api.header()
        fill(&response)
        queued = outlet.send { response.append(to: &$0) } ?? 0
    }

    // MARK: Deliveries

    func deliver(_ delivery: WatchDelivery) -> Bool {
        guard !isOver else { return true }
        guard queued < WatchService.queueBytesMax else {
            // What was sent may have left meanwhile.
            outlet.notifyWritable()
            return false
        }
        switch delivery.content {
        case .progress: send(delivery, [], 0..<0, isFragment: false)
        case .compacted(let revision):
            var response = WatchResponse()
            response.header = api.header(revision: false)
            response.watchId = delivery.watchID
            response.canceled = true
            response.compactRevision = revision
            queued = outlet.send { response.append(to: &$0) } ?? 0
        case .events(let block, let cuts):
            let bytes = block.bytes
            var start = 0
            for cut in cuts {
                send(delivery, bytes, start..<cut, isFragment: true)
                start = cut
            }
            send(delivery, bytes, start..<bytes.count, isFragment: false)
        }
        return true
    }

    /// The encoded events are copied behind a small head: they are encoded once, for all watchers.
    private func send(_ delivery: WatchDelivery, _ events: Bytes, _ part: Range<Int>, isFragment: Bool) {
        queued =
            outlet.send { output in
                api.state.appendHeader(revision: delivery.revision, to: &output)
                if delivery.watchID != 0 { output.appendWire(2, delivery.watchID) }
                if isFragment { output.appendWire(7, UInt64(1)) }
                output.append(events.rawSpan.extracting(part))
            } ?? 0
    }

    func writable() {
        guard !isOver else { return }
        queued = 0
        if api.member.hub.isBlocked(number) {
            api.member.hub.resume(number)
            api.member.loop.turnAgain()
        }
    }

    // MARK: Progress and the end

    private func scheduleProgress() {
        var random = SystemRandomNumberGenerator()
        let interval = api.member.settings.progressInterval
        let delay = interval + UInt64.random(in: 0...(interval / 10), using: &random)
        progressTimer = api.member.loop.schedule(after: delay) { [weak self] in
            guard let self, !isOver else { return }
            api.member.hub.progressTick(number, api.state.kv, api.watchService)
            scheduleProgress()
        }
    }

    /// The client may have said all it has to say; events go on.
    func halfClosed() {}

    func cancelled() {
        guard !isOver else { return }
        isOver = true
        if let progressTimer { api.member.loop.cancel(progressTimer) }
        api.member.hub.close(number)
        api.watchService.remove(tag)
    }

    private func end(_ status: GRPCStatus) {
        cancelled()
        outlet.finish(status)
    }
}
