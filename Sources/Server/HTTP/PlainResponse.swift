// An answer of the plain HTTP endpoints, before it is written to a connection.

package struct PlainResponse: Equatable, Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: String

    package init(_ status: Int, _ headers: [(name: String, value: String)], _ body: String) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package static func == (a: PlainResponse, b: PlainResponse) -> Bool {
        a.status == b.status && a.body == b.body && a.headers.count == b.headers.count
            && zip(a.headers, b.headers).allSatisfy { $0.name == $1.name && $0.value == $1.value }
    }

    package static func text(_ status: Int, _ body: String, sniffable: Bool = false) -> PlainResponse {
        var headers = [(name: "Content-Type", value: "text/plain; charset=utf-8")]
        if !sniffable { headers.append(("X-Content-Type-Options", "nosniff")) }
        return PlainResponse(status, headers, body)
    }

    package static func json(_ body: String) -> PlainResponse {
        PlainResponse(200, [("Content-Type", "application/json")], body)
    }

    package static let notFound = text(404, "404 page not found\n")

    package static func moved(to location: String, _ method: String) -> PlainResponse {
        guard method == "GET" || method == "HEAD" else { return PlainResponse(301, [("Location", location)], "") }
        let shown = location.map { ["&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&#34;", "'": "&#39;"][$0] ?? String($0) }
        return PlainResponse(
            301, [("Content-Type", "text/html; charset=utf-8"), ("Location", location)],
            "<a href=\"\(shown.joined())\">Moved Permanently</a>.\n\n")
    }

    package static func methodNotAllowed(_ allow: String? = "GET") -> PlainResponse {
        var response = text(405, "Method Not Allowed\n")
        if let allow { response.headers.insert(("Allow", allow), at: 0) }
        return response
    }

    /// The answer to a plain request whose Host is not on the white list (DNS rebinding).
    package static func misdirected(host: String) -> PlainResponse {
        text(
            421,
            """

            etcd received your request, but the Host header was unrecognized.

            Two ways out: serve clients over TLS, where this check is not made, or allow the host name in the settings:
              etcd --host-whitelist "\(host)"

            The check keeps web pages from reaching this server through a DNS name of their own (CVE-2018-5702).


            """)
    }
}
