// HTTP/1.1 on one connection: requests one after the other, each answered before the next is looked at (pipelined ones
// wait in their bytes), answers whole or in chunks.
//
//     idle -> head -> gathering -> handler -> answering -> idle
//                  \-> receiving (pieces to a receiver) -> answering

import Foundations
import HTTP1

final class HTTP1Exchange {
    private unowned let connection: ServerConnection
    private var parser: HTTPRequestParser
    private var waiting: [UInt8] = []
    /// Serial of the request being answered or received; zero when none is.
    private var current: UInt64 = 0
    /// The request whose body is being gathered.
    private var gathered: HTTPRequest?
    /// Who takes the body that is being read.
    private var receiver: (any HTTPBodyReceiver)?
    /// Who has the connection after an upgrade: nothing that comes is HTTP any more.
    private var upgraded: (any HTTPBodyReceiver)?
    /// A head has been handed over, the end of its message has not come.
    private var isInMessage = false
    private var keepsConnection = true
    private var isHead = false
    private var chunked = false
    private var draining = false
    private var isWorking = false
    private var isPaused = false
    /// A body follows that an answer given now leaves unread.
    private var answerEnds = false
    private var inputEnded = false
    /// The client waits for permission to send the body.
    private var owesContinue = false
    var output: [UInt8] = []
    private(set) var isOver = false
    var observer: (any CallObserver)?
    /// The answer under way has no end: that of the input is its end.
    var endsWithInput = false

    init(connection: ServerConnection) {
        self.connection = connection
        var limits = HTTPLimits()
        limits.bodyBytesMax = connection.server.limits.bodyBytesMax
        parser = HTTPRequestParser(limits: limits)
    }

    /// When the first byte of the request that is being read came; zero when none is.
    private var requestStartedAt: UInt64 = 0

    var isIdle: Bool { current == 0 && requestStartedAt == 0 && !isInMessage }

    /// Part of a request has come and not the whole, for too long: a head has a time for all of it, however it trickles; a
    /// body must go on.
    func isLate(_ now: UInt64, lastRead: UInt64, _ limit: UInt64) -> Bool {
        if isInMessage { return !isPaused && now > lastRead + limit }
        return current == 0 && requestStartedAt != 0 && now > requestStartedAt + limit
    }

    /// The peer sends no more: the connection ends when everything it asked for is answered.
    func endOfInput() {
        inputEnded = true
        if endsWithInput { return connection.close() }
        noteEnd()
    }

    private func noteEnd() {
        guard inputEnded else { return }
        if isInMessage && waiting.isEmpty { dropReceiver() }
        if current == 0 && (waiting.isEmpty || output.count < HTTP1Exchange.outputMax) { isOver = true }
    }

    /// A body that will not be complete.
    private func dropReceiver() {
        guard let receiver else { return }
        self.receiver = nil
        current = 0
        isOver = true
        receiver.failed()
    }

    func receive(_ bytes: RawSpan) {
        guard !isOver else { return }
        if waiting.isEmpty && !isWorking {
            let taken = work(bytes)
            if taken < bytes.byteCount && !isOver { waiting.append(bytes.extracting(taken..<bytes.byteCount)) }
        } else {
            waiting.append(bytes)
            goOn()
        }
    }

    /// Requests have come early, behind one that is being answered: enough of them to read no more. Or a receiver has
    /// enough for now.
    var isFull: Bool { isPaused || waiting.count > 256 * 1024 }

    /// Answers that wait to be written; while there is more, the next requests wait too.
    private static let outputMax = 1 << 20

    func pause(_ paused: Bool) {
        isPaused = paused && receiver != nil
        if isPaused { return }
        connection.forgiveSilence()
        goOn()
    }

    /// There is room for more answers, or a request was answered: looks at what waits.
    func goOn() {
        guard !waiting.isEmpty, !isWorking, !isOver else { return }
        let bytes = waiting
        waiting = []
        let taken = work(bytes.rawSpan)
        // What the handlers' answers let in meanwhile comes after what is left here.
        if taken < bytes.count && !isOver { waiting = bytes[taken...] + waiting }
        noteEnd()
    }

    /// Reads requests until one is not answered at once, nothing is left, or the answers pile up. How much was taken.
    private func work(_ bytes: RawSpan) -> Int {
        guard !isWorking else { return 0 }
        isWorking = true
        defer { isWorking = false }
        var at = 0
        if let upgraded {
            upgraded.received(bytes)
            return bytes.byteCount
        }
        do throws(HTTPError) {
            while (current == 0 || isInMessage) && !isOver && !isPaused && output.count < HTTP1Exchange.outputMax {
                if requestStartedAt == 0 && !isInMessage && at < bytes.byteCount { requestStartedAt = connection.lastRead }
                guard let event = try parser.next(bytes, &at) else {
                    sendContinue()
                    break
                }
                switch event {
                case .head(let head): begin(head)
                case .body(let range):
                    owesContinue = false
                    if let receiver {
                        receiver.received(bytes.extracting(range))
                    } else {
                        gathered?.body.append(bytes.extracting(range))
                    }
                case .end: ended()
                }
            }
        } catch { fail(error) }
        if let upgraded, at < bytes.byteCount {
            upgraded.received(bytes.extracting(at..<bytes.byteCount))
            at = bytes.byteCount
        }
        if inputEnded && current == 0 && output.count < HTTP1Exchange.outputMax { isOver = true }
        return at
    }

    private func sendContinue() {
        guard owesContinue else { return }
        owesContinue = false
        output.append(contentsOf: "HTTP/1.1 100 Continue\r\n\r\n".utf8)
    }

    private func begin(_ head: HTTPRequestHead) {
        isInMessage = true
        requestStartedAt = 0
        owesContinue = head.expectsContinue
        let request = HTTPRequest(head, body: [])
        guard let choose = connection.server.router.httpBodies else {
            gathered = request
            return
        }
        start(request)
        let call = Call(connection: connection.index, slot: 0, serial: current)
        answerEnds = head.framing != .none
        receiver = choose(request, call, connection.peer)
        answerEnds = false
        if current == 0 {
            // Answered at once. (With an answer in pieces begun, the rest of the message is passed over.)
            receiver = nil
        } else if receiver != nil {
            parser.limits.bodyBytesMax = .max
        } else if !chunked {
            current = 0
            gathered = request
        }
    }

    private func start(_ request: HTTPRequest) {
        current = connection.nextSerial()
        keepsConnection = request.keepsConnection && !draining
        isHead = request.method == "HEAD"
    }

    private func ended() {
        isInMessage = false
        owesContinue = false
        parser.limits.bodyBytesMax = connection.server.limits.bodyBytesMax
        if let receiver {
            self.receiver = nil
            receiver.ended()
        } else if let request = gathered {
            gathered = nil
            start(request)
            handle(request)
        }
    }

    private func handle(_ request: HTTPRequest) {
        let call = Call(connection: connection.index, slot: 0, serial: current)
        guard let handler = connection.server.router.http else {
            return respond(
                call, status: 404, headers: [("Content-Type", "text/plain")], body: Array("not found\n".utf8))
        }
        handler(request, call, connection.peer)
    }

    private func fail(_ error: HTTPError) {
        if chunked {
            isOver = true
            return dropReceiver()
        }
        let body = Array("\(error.status) \(HTTPStatus.reason(error.status)): \(error)".utf8)
        ResponseWriter.head(
            status: error.status, headers: [("Content-Type", "text/plain; charset=utf-8")], date: connection.server.date,
            length: body.count, close: true, into: &output)
        output.append(contentsOf: body)
        isOver = true
        dropReceiver()
    }

    func isCurrent(_ call: Call) -> Bool { current != 0 && call.serial == current && !isOver }

    func respond(_ call: Call, status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        guard isCurrent(call) else { return }
        if receiver != nil && isInMessage || answerEnds { keepsConnection = false }
        ResponseWriter.head(
            status: status, headers: headers, date: connection.server.date, length: body.count, close: !keepsConnection,
            into: &output)
        if !isHead { output.append(contentsOf: body) }
        done()
    }

    func startPieces(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        guard isCurrent(call) else { return }
        ResponseWriter.head(
            status: status, headers: headers, date: connection.server.date, length: nil, close: !keepsConnection, into: &output)
        chunked = true
    }

    func sendPiece(_ call: Call, _ bytes: [UInt8]) -> Int? {
        guard isCurrent(call), chunked else { return nil }
        ResponseWriter.chunk(bytes, into: &output)
        return output.count
    }

    func sendPiece(_ call: Call, _ make: (inout [UInt8]) -> Void) -> Int? {
        guard isCurrent(call), chunked else { return nil }
        HTTPWriter.appendChunk(to: &output, make)
        return output.count
    }

    /// Answers with 101 and `headers`, and hands the connection over.
    func upgrade(_ call: Call, headers: [(name: String, value: String)], _ receiver: any HTTPBodyReceiver) {
        guard isCurrent(call), !isInMessage else { return }
        var fields = HTTPFields()
        for (name, value) in headers { fields.append(name, value) }
        HTTPWriter.append(HTTPResponseHead(101, fields: fields, framing: .none), to: &output)
        upgraded = receiver
        keepsConnection = false
        endsWithInput = true
    }

    func sendUpgraded(_ call: Call, _ bytes: [UInt8]) -> Int? {
        guard isCurrent(call), upgraded != nil else { return nil }
        output.append(contentsOf: bytes)
        return output.count
    }

    func endUpgraded(_ call: Call) { if isCurrent(call), upgraded != nil { done() } }

    func endPieces(_ call: Call) {
        guard isCurrent(call), chunked else { return }
        ResponseWriter.lastChunk(into: &output)
        done()
    }

    private func done() {
        current = 0
        chunked = false
        observer = nil
        receiver = nil
        upgraded = nil
        endsWithInput = false
        isPaused = false
        if !keepsConnection {
            isOver = true
        } else {
            goOn()
        }
    }

    func drain() {
        draining = true
        if current == 0 {
            connection.close()
        } else if let upgraded {
            upgraded.ended()
        } else if chunked {
            connection.endAfterFlush()
        } else {
            keepsConnection = false
        }
    }

    /// The connection is gone.
    func abandon() {
        isOver = true
        guard current != 0 else { return }
        let call = Call(connection: connection.index, slot: 0, serial: current)
        let (receiver, observer) = (receiver ?? upgraded, observer)
        self.receiver = nil
        upgraded = nil
        self.observer = nil
        current = 0
        receiver?.failed()
        observer?.cancelled(call)
    }
}
