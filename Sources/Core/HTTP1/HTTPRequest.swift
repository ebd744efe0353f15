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

    package static func == (a: HTTPRequest, b: HTTPRequest) -> Bool {
        a.method == b.method && a.target == b.target && a.body == b.body && a.isHTTP10 == b.isHTTP10
            && a.headers.map(\.name) == b.headers.map(\.name) && a.headers.map(\.value) == b.headers.map(\.value)
    }

    /// The target without its query, percent-decoded.
    package var path: String { HTTPText.percentDecoded(target.prefix { $0 != "?" }) }

    /// Decoded name and value pairs of the query, in order.
    package var query: [(name: String, value: String)] {
        guard let mark = target.firstIndex(of: "?") else { return [] }
        return target[target.index(after: mark)...].split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? parts[1] : ""
            return (
                HTTPText.percentDecoded(parts[0], plusIsSpace: true), HTTPText.percentDecoded(value, plusIsSpace: true)
            )
        }
    }

    package func queryValues(_ name: String) -> [String] { query.filter { $0.name == name }.map(\.value) }

    /// The first value of a header, by lower-case name.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    package var keepsConnection: Bool {
        let connection = header("connection")?.lowercased() ?? ""
        return isHTTP10 ? connection.contains("keep-alive") : !connection.contains("close")
    }
}

package enum HTTPText {
    /// `%41` becomes `A`, and in queries `+` a space; malformed escapes stay as they are.
    package static func percentDecoded(_ text: some StringProtocol, plusIsSpace: Bool = false) -> String {
        guard text.utf8.contains(where: { $0 == 0x25 || $0 == 0x2b }) else { return String(text) }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        var i = 0
        while i < bytes.count {
            if bytes[i] == 0x25, i + 2 < bytes.count, let high = digit(bytes[i + 1]), let low = digit(bytes[i + 2]) {
                result.append(high << 4 | low)
                i += 3
            } else {
                result.append(plusIsSpace && bytes[i] == 0x2b ? 0x20 : bytes[i])
                i += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case 0x30...0x39: character - 0x30
        case 0x41...0x46: character - 0x41 + 10
        case 0x61...0x66: character - 0x61 + 10
        default: nil
        }
    }

    package static func reason(_ status: Int) -> String {
        switch status {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 200: "OK"
        case 204: "No Content"
        case 301: "Moved Permanently"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 412: "Precondition Failed"
        case 413: "Request Entity Too Large"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: "Status \(status)"
        }
    }
}
