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
    var output: [UInt8] = []
    private(set) var isOver = false
    var observer: (any CallObserver)?

    init(connection: ServerConnection) {
        self.connection = connection
        var limits = HTTPLimits()
        limits.bodyBytesMax = connection.server.limits.bodyBytesMax
        parser = RequestParser(limits)
    }

    /// Part of a request has come and not the whole: the clock runs.
    var isReadingHead: Bool { current == 0 && !parser.isBetweenRequests }

    func receive(_ bytes: RawSpan) {
        guard !isOver else { return }
        if current != 0 {
            // The next request, early. More than one buffer of it is not kept: the peer waits.
            guard waiting.count < 1 << 20 else { return fail(HTTPError(413, "too much sent ahead")) }
            waiting.append(bytes)
            return
        }
        var taken = 0
        do throws(HTTPError) {
            taken = try parser.feed(bytes) { request in
                begin(request)
                return false
            }
        } catch {
            return fail(error)
        }
        if taken < bytes.byteCount { waiting.append(bytes.extracting(taken..<bytes.byteCount)) }
        if current == 0 && parser.expectsContinue { output.append(contentsOf: "HTTP/1.1 100 Continue\r\n\r\n".utf8) }
        if current == 0 { next() }
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

    private func next() {
        guard !waiting.isEmpty, !isOver, current == 0 else { return }
        let bytes = waiting
        waiting = []
        receive(bytes.rawSpan)
    }

    private func fail(_ error: HTTPError) {
        let body = Array("\(error.status) \(HTTPText.reason(error.status)): \(error.reason)".utf8)
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
            next()
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
