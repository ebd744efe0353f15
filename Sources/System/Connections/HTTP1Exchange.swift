// HTTP/1.1 on one connection: requests one after the other, each answered before the next is looked at (pipelined ones
// wait in their bytes), answers whole or in chunks.

import Foundations
import HTTP1

final class HTTP1Exchange {
    private unowned let connection: ServerConnection
    private var parser: RequestParser
    private var waiting: [UInt8] = []
    /// Serial of the request being answered; zero when none is.
    private var current: UInt64 = 0
    private var keepsConnection = true
    private var isHead = false
    private var chunked = false
    private var draining = false
    private var isWorking = false
    private var toldToContinue = false
    var output: [UInt8] = []
    private(set) var isOver = false
    var observer: (any CallObserver)?

    init(connection: ServerConnection) {
        self.connection = connection
        var limits = HTTPLimits()
        limits.bodyBytesMax = connection.server.limits.bodyBytesMax
        parser = RequestParser(limits)
    }

    /// When the first byte of the request that is being read came; zero when none is.
    private var requestStartedAt: UInt64 = 0

    /// Part of a request has come and not the whole, for too long: a head has a time for all of it, however it trickles; a
    /// body must go on.
    func isLate(_ now: UInt64, lastRead: UInt64, _ limit: UInt64) -> Bool {
        guard current == 0, requestStartedAt != 0 else { return false }
        return parser.isReadingBody ? now > lastRead + limit : now > requestStartedAt + limit
    }

    /// The peer sends no more: the connection ends when everything it asked for is answered.
    func endOfInput() {
        inputEnded = true
        if current == 0 && (waiting.isEmpty || output.count < HTTP1Exchange.outputMax) { isOver = true }
    }

    private var inputEnded = false

    func receive(_ bytes: RawSpan) {
        guard !isOver else { return }
        waiting.append(bytes)
        work()
    }

    /// Requests have come early, behind one that is being answered: enough of them to read no more.
    var isFull: Bool { waiting.count > 256 * 1024 }

    /// Answers that wait to be written; while there is more, the next requests wait too.
    private static let outputMax = 1 << 20

    /// Output has been written: there is room for more answers.
    func goOn() { if !waiting.isEmpty { work() } }

    /// Reads requests until one is not answered at once, nothing is left, or the answers pile up.
    private func work() {
        guard !isWorking else { return }
        isWorking = true
        defer { isWorking = false }
        var at = 0
        let bytes = waiting
        waiting = []
        while current == 0 && !isOver && at < bytes.count && output.count < HTTP1Exchange.outputMax {
            if requestStartedAt == 0 { requestStartedAt = connection.lastRead }
            var complete: HTTPRequest?
            do throws(HTTPError) {
                at += try parser.feed(bytes.rawSpan.extracting(at..<bytes.count)) { request in
                    complete = request
                    return false
                }
            } catch {
                return fail(error)
            }
            guard let complete else {
                if parser.expectsContinue && !toldToContinue {
                    toldToContinue = true
                    output.append(contentsOf: "HTTP/1.1 100 Continue\r\n\r\n".utf8)
                }
                break
            }
            requestStartedAt = 0
            toldToContinue = false
            begin(complete)
        }
        // What the handlers' answers let in meanwhile comes after what is left here.
        if at < bytes.count && !isOver { waiting = bytes[at...] + waiting }
        if inputEnded && current == 0 && output.count < HTTP1Exchange.outputMax { isOver = true }
    }

    private func begin(_ request: HTTPRequest) {
        current = connection.nextSerial()
        keepsConnection = request.keepsConnection && !draining
        isHead = request.method == "HEAD"
        let call = Call(connection: connection.index, slot: 0, serial: current)
        guard let handler = connection.server.router.http else {
            return respond(
                call, status: 404, headers: [("Content-Type", "text/plain")], body: Array("not found\n".utf8))
        }
        handler(request, call, connection.peer)
    }

    private func fail(_ error: HTTPError) {
        let body = Array("\(error.status) \(HTTPStatus.reason(error.status)): \(error)".utf8)
        ResponseWriter.head(
            status: error.status, headers: [("Content-Type", "text/plain; charset=utf-8")], length: body.count,
            close: true,
            into: &output)
        output.append(contentsOf: body)
        isOver = true
    }

    func isCurrent(_ call: Call) -> Bool { current != 0 && call.serial == current && !isOver }

    func respond(_ call: Call, status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        guard isCurrent(call) else { return }
        ResponseWriter.head(
            status: status, headers: headers, length: body.count, close: !keepsConnection, into: &output)
        if !isHead { output.append(contentsOf: body) }
        done()
    }

    func startPieces(_ call: Call, status: Int, headers: [(name: String, value: String)]) {
        guard isCurrent(call) else { return }
        ResponseWriter.head(status: status, headers: headers, length: nil, close: !keepsConnection, into: &output)
        chunked = true
    }

    func sendPiece(_ call: Call, _ bytes: [UInt8]) -> Int? {
        guard isCurrent(call), chunked else { return nil }
        ResponseWriter.chunk(bytes, into: &output)
        return output.count
    }

    func endPieces(_ call: Call) {
        guard isCurrent(call), chunked else { return }
        ResponseWriter.lastChunk(into: &output)
        done()
    }

    private func done() {
        current = 0
        chunked = false
        observer = nil
        if !keepsConnection {
            isOver = true
        } else {
            work()
        }
    }

    func drain() {
        draining = true
        if current == 0 {
            connection.close()
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
        observer?.cancelled(Call(connection: connection.index, slot: 0, serial: current))
        observer = nil
    }
}
