// What the test server answers to plain HTTP.

import Connections
import Foundations
import HTTP1

extension TestService {
    func http(_ request: HTTPRequest, _ call: Call) {
        let text = [(name: "Content-Type", value: "text/plain")]
        switch request.path {
        case "/health": server.respond(call, status: 200, headers: text, body: Array("fine\n".utf8))
        case "/echo":
            server.respond(call, status: 200, headers: text, body: Array("\(request.method) ".utf8) + request.body)
        case "/headers":
            let lines = request.headers.map { "\($0.name): \($0.value)\n" }.sorted().joined()
            server.respond(call, status: 200, headers: text, body: Array(lines.utf8))
        case "/pieces":
            server.startPieces(call, status: 200, headers: text)
            for i in 0..<5 { server.sendPiece(call, Array("piece \(i)\n".utf8)) }
            server.endPieces(call)
        case "/later":
            server.loop.schedule(after: 20_000_000) { [server] in
                server.respond(call, status: 200, headers: text, body: Array("later\n".utf8))
            }
        default: server.respond(call, status: 404, headers: text, body: Array("404 page not found\n".utf8))
        }
    }
}
