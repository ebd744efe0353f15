// One loop that answers /echo.Echo/Unary with what it got, and holds /echo.Echo/Open streams open: the network stack and
// nothing else. Prints its port; ends when standard input ends.

import Connections
import Foundations
import GRPC
import Glibc
import Linux
import TLSEngine

enum EchoServer {
    /// `arguments`: nothing, or a certificate and its key.
    static func run(_ arguments: [String]) {
        do {
            try serve(arguments)
        } catch {
            print("serve-echo: \(error)")
            exit(1)
        }
    }

    private static func serve(_ arguments: [String]) throws {
        raiseDescriptorLimit()
        let loop = try EventLoop()
        let router = GRPCRouter()
        let server = GRPCServer(loop: loop, router: router)
        router.unary("/echo.Echo/Unary") { context, message in
            server.reply(context.call) { $0.append(message) }
        }
        router.stream("/echo.Echo/Open") { _ in Held() }
        router.http = { request, call, _ in
            server.respond(call, status: 200, headers: [("Content-Type", "text/plain")], body: request.body)
        }
        let address = try SocketAddress.resolve(host: "127.0.0.1", port: "0")[0]
        let tls =
            arguments.count == 2 ? try TLSContext(TLSConfiguration.server(certificate: arguments[0], key: arguments[1])) : nil
        let listener = try Listener(address, loop: loop) { server.add($0, tls: tls?.makeServerSession()) }
        let input = EndOfInput(loop)
        _ = try loop.register(0, input)
        print("port \(listener.address.port)")
        fflush(nil)
        loop.run()
        listener.stop()
    }

    /// A stream that stays until the client ends it.
    private final class Held: StreamHandler {
        func message(_ message: RawSpan) {}
        func halfClosed() {}
        func cancelled() {}
        func writable() {}
    }

    private final class EndOfInput: EventHandler {
        private let loop: EventLoop
        init(_ loop: EventLoop) { self.loop = loop }
        func ready(readable: Bool, writable: Bool) {
            var byte: UInt8 = 0
            if unsafe read(0, &byte, 1) <= 0 { loop.stop() }
        }
    }

    static func raiseDescriptorLimit() {
        var limit = rlimit()
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
