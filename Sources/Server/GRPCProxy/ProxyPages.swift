// The plain HTTP of a proxy: how the cluster is, seen through it; the metrics of a member; its own.
//
//   /health          a read through the cluster              /metrics         of one of the members
//   /proxy/health    the same and a watch, through this      /proxy/metrics   of this process
//                    proxy's own advertised address

import Connections
import CoveyClient
import Foundations
import GRPC
import HTTP1
import JSON
import Linux
import Wire

final class ProxyPages {
    private static let healthKey = Array("a".utf8)

    private let proxy: GRPCProxy
    /// Through the advertised address; nil without one.
    private let own: GRPCProxy?
    private let http: HTTP1Client
    /// Of the members.
    private let urls: [String]
    private let metrics: ProxyMetrics

    init(_ proxy: GRPCProxy, own: GRPCProxy?, _ http: HTTP1Client, _ urls: [String], _ metrics: ProxyMetrics) {
        self.proxy = proxy
        self.own = own
        self.http = http
        self.urls = urls
        self.metrics = metrics
    }

    /// `server`: the one whose call it is.
    func serve(_ request: HTTPRequest, _ call: Call, on server: GRPCServer) {
        func answer(_ response: PlainResponse) {
            let body = request.method == "HEAD" ? [] : Array(response.body.utf8)
            server.respond(call, status: response.status, headers: response.headers, body: body)
        }
        guard request.method == "GET" || request.method == "HEAD" else { return answer(.methodNotAllowed()) }
        switch request.path {
        case "/health": health(through: proxy) { answer(Self.health($0)) }
        case "/proxy/health":
            guard let own else { return answer(Self.health("no connection to proxy")) }
            health(through: own) { reason in
                if let reason { return answer(Self.health(reason)) }
                Self.watches(own) { answer(Self.health($0)) }
            }
        case "/metrics": relay(answer)
        case "/proxy/metrics": answer(Self.metrics(metrics.page()))
        default: answer(.notFound)
        }
    }

    // MARK: Health

    private func health(through proxy: GRPCProxy, _ done: @escaping (_ reason: String?) -> Void) {
        proxy.ask(RPC.KV.range, RangeRequest(key: Self.healthKey), seconds: 1) { answer in
            switch answer {
            // Whoever may not read it was told so by a cluster that works.
            case .success, .failure(EtcdError.permissionDenied): done(nil)
            case .failure(let status): done("GET ERROR:\(status.message)")
            }
        }
    }

    private static func watches(_ proxy: GRPCProxy, _ done: @escaping (_ reason: String?) -> Void) {
        let id = proxy.nextID()
        let create = WatchRequest(requestUnion: .createRequest(WatchCreateRequest(key: healthKey)))
        var request = CallRequest(path: RPC.Watch.watch.path)
        request.deadline = .after(.seconds(3))
        proxy.pool.submit(
            id, request,
            FirstMessage { came in
                proxy.pool.cancel(id)
                done(came ? nil : "WATCH TIMEOUT")
            })
        proxy.pool.call(id)?.send(GRPCProxy.framed(create))
    }

    private static func health(_ reason: String?) -> PlainResponse {
        let body = JSONValue.object([
            .init("health", .string(reason == nil ? "true" : "false")), .init("reason", .string(reason ?? "")),
        ])
        var response = PlainResponse.json(body.text())
        if reason != nil { response.status = 503 }
        return response
    }

    // MARK: Metrics

    private static func metrics(_ text: String) -> PlainResponse {
        PlainResponse(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], text)
    }

    /// Of the first member that answers.
    private func relay(_ answer: @escaping (PlainResponse) -> Void) {
        PeerFetch.start(PeerRequest(urls, "/metrics"), http) { result in
            guard case .success(let page) = result, page.status == 200 else { return answer(.text(500, "Internal server error")) }
            answer(Self.metrics(String(decoding: page.body, as: UTF8.self)))
        }
    }
}

/// Tells once whether a message came.
private final class FirstMessage: CallSink {
    private var done: ((Bool) -> Void)?

    init(_ done: @escaping (Bool) -> Void) { self.done = done }

    func message(_ bytes: RawSpan, of call: PendingCall) { tell(true) }
    func sendQueue(_ bytes: Int) {}
    func ended(_ result: CallResult) { tell(false) }

    private func tell(_ came: Bool) {
        let told = done
        done = nil
        told?(came)
    }
}
