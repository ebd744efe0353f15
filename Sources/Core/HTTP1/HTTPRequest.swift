// A request as handlers see it, whichever version of HTTP brought it.

import Foundations

package struct HTTPRequest: Sendable, Equatable {
    package var method: String
    /// As sent: path and query.
    package var target: String
    /// Names in lower case.
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    package var isHTTP10 = false

    package init(method: String, target: String, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
    }

    package init(_ head: HTTPRequestHead, body: [UInt8]) {
        method = head.method
        target = head.target
        headers = head.fields.map { (String(decoding: $0.name.utf8.map(HTTPGrammar.lower), as: UTF8.self), $0.value) }
        self.body = body
        isHTTP10 = head.version == .http10
    }

    package static func == (a: HTTPRequest, b: HTTPRequest) -> Bool {
        a.method == b.method && a.target == b.target && a.body == b.body && a.isHTTP10 == b.isHTTP10
            && a.headers.map(\.name) == b.headers.map(\.name) && a.headers.map(\.value) == b.headers.map(\.value)
    }

    /// The target without its query, percent-decoded. As sent when it is malformed, so that it matches no route.
    package var path: String { HTTPTarget(target)?.path ?? target }

    /// Decoded name and value pairs of the query, in order.
    package var query: [(name: String, value: String)] { HTTPTarget(target)?.query ?? [] }

    package func queryValues(_ name: String) -> [String] { query.filter { $0.name == name }.map(\.value) }

    /// The first value of a header, by lower-case name.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    package var keepsConnection: Bool {
        HTTPConnection.keepsAlive(isHTTP10 ? .http10 : .http11) { name in
            headers.filter { $0.name == name }.flatMap { HTTPGrammar.commaList($0.value) }
        }
    }
}
