// Heads of messages as values, and what they say about the connection.

package enum HTTPVersion: Sendable, Equatable {
    case http10, http11

    package var text: String { self == .http11 ? "HTTP/1.1" : "HTTP/1.0" }
}

/// How the end of a body is found.
package enum HTTPFraming: Sendable, Equatable {
    case none
    case length(Int)
    case chunked
    /// Responses only: the end of the connection is the end of the body.
    case untilClose
}

package struct HTTPRequestHead: Equatable, Sendable {
    package var method: String
    /// As sent; `HTTPTarget` takes it apart.
    package var target: String
    package var version: HTTPVersion
    package var fields: HTTPFields
    package var framing: HTTPFraming

    package init(
        _ method: String, _ target: String, version: HTTPVersion = .http11, fields: HTTPFields = [],
        framing: HTTPFraming = .none
    ) {
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.framing = framing
    }

    package var keepsAlive: Bool { HTTPConnection.keepsAlive(version, fields) }

    /// The client waits for `100 Continue` before it sends the body.
    package var expectsContinue: Bool {
        version == .http11 && framing != .none && fields.list("expect", contains: "100-continue")
    }

    /// Protocols the client offers to change to; empty when it does not ask on this connection.
    package var upgrades: [String] {
        version == .http11 && fields.list("connection", contains: "upgrade") ? fields.list("upgrade") : []
    }
}

package struct HTTPResponseHead: Equatable, Sendable {
    package var status: Int
    package var reason: String
    package var version: HTTPVersion
    package var fields: HTTPFields
    package var framing: HTTPFraming

    package init(
        _ status: Int, reason: String? = nil, version: HTTPVersion = .http11, fields: HTTPFields = [],
        framing: HTTPFraming = .none
    ) {
        self.status = status
        self.reason = reason ?? HTTPStatus.reason(status)
        self.version = version
        self.fields = fields
        self.framing = framing
    }

    /// The connection can carry another request after this response.
    package var keepsAlive: Bool { framing != .untilClose && HTTPConnection.keepsAlive(version, fields) }

    package var isInformational: Bool { status < 200 && status != 101 }
}

enum HTTPConnection {
    static func keepsAlive(_ version: HTTPVersion, _ fields: HTTPFields) -> Bool {
        keepsAlive(version) { fields.list($0) }
    }

    static func keepsAlive(_ version: HTTPVersion, list: (String) -> [String]) -> Bool {
        let options = list("connection")
        if options.contains(where: { HTTPGrammar.sameName($0, "close") }) { return false }
        return version == .http11 || options.contains { HTTPGrammar.sameName($0, "keep-alive") }
    }
}

package enum HTTPStatus {
    package static func reason(_ status: Int) -> String { names[status] ?? "Status \(status)" }

    private static let names = [
        100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
        206: "Partial Content", 301: "Moved Permanently", 302: "Found", 304: "Not Modified",
        307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
        403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
        410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Request Entity Too Large",
        414: "Request URI Too Long", 415: "Unsupported Media Type", 417: "Expectation Failed",
        421: "Misdirected Request", 426: "Upgrade Required", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
    ]
}
