// HTTP/2 frames by hand, to say to a server what no library would.

import Foundations
import Glibc
import Linux

struct Frame: CustomStringConvertible {
    enum Kind: UInt8 {
        case data, headers, priority, reset, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    var type: UInt8
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]

    static let endStream: UInt8 = 1
    static let ack: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let padded: UInt8 = 8
    static let priority: UInt8 = 0x20

    init(_ kind: Kind, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) {
        self.init(type: kind.rawValue, flags: flags, stream: stream, payload: payload)
    }

    init(type: UInt8, flags: UInt8, stream: UInt32, payload: [UInt8]) {
        (self.type, self.flags, self.stream, self.payload) = (type, flags, stream, payload)
    }

    var bytes: [UInt8] { Frame.header(payload.count, type, flags, stream) + payload }

    static func header(_ length: Int, _ type: UInt8, _ flags: UInt8, _ stream: UInt32) -> [UInt8] {
        let length = [UInt8(truncatingIfNeeded: length >> 16), UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)]
        return length + [type, flags] + be32(stream)
    }

    static func be32(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    var number: UInt32 { be32(0) }
    func be32(_ at: Int) -> UInt32 { payload[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) } }

    var description: String { "type \(type) flags \(flags) stream \(stream) \(payload.count) bytes" }

    // MARK: Ready-made

    /// A header block of literals without indexing.
    static func block(_ fields: [(String, String)]) -> [UInt8] {
        fields.flatMap { name, value in [0] + string(name) + string(value) }
    }

    private static func string(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
        var length: [UInt8] = [127]
        var rest = bytes.count - 127
        while rest >= 128 {
            length.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return length + [UInt8(rest)] + bytes
    }

    static let grpcFields = [
        (":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Unary"), (":authority", "a"),
        ("content-type", "application/grpc"), ("te", "trailers"),
    ]

    static func request(
        _ stream: UInt32, _ fields: [(String, String)] = grpcFields, flags: UInt8 = endHeaders
    ) -> Frame {
        Frame(.headers, flags: flags, stream: stream, block(fields))
    }

    /// A gRPC message in one DATA frame that ends the stream.
    static func message(_ stream: UInt32, _ bytes: [UInt8], flags: UInt8 = endStream) -> Frame {
        Frame(.data, flags: flags, stream: stream, [0] + be32(UInt32(bytes.count)) + bytes)
    }

    static func setting(_ id: UInt16, _ value: UInt32) -> [UInt8] {
        [UInt8(id >> 8), UInt8(truncatingIfNeeded: id)] + be32(value)
    }
}

/// A blocking connection to a loopback port; every read has a time limit, so that a silent server fails a test instead of
/// hanging it.
final class RawConnection {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    let descriptor: Int32
    private var input: [UInt8] = []

    init(port: Int, receiveBuffer: Int32 = 0, seconds: Int = 240) throws {
        let address = try SocketAddress.resolve(host: "127.0.0.1", port: "\(port)")[0]
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if receiveBuffer > 0 { Socket.set(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer) }
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let result = address.withKernelForm { bytes, count in
            connect(descriptor, bytes.assumingMemoryBound(to: sockaddr.self), count)
        }
        guard result == 0 else { throw SystemError("connect", address.description) }
        Socket.set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    deinit { close(descriptor) }

    /// Preface and empty SETTINGS.
    func greet() { send(RawConnection.preface + Frame(.settings).bytes) }

    /// False when the server has closed.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return false }
            done += count
        }
        return true
    }

    @discardableResult
    func send(_ frames: Frame...) -> Bool { send(frames.flatMap(\.bytes)) }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    enum Ending: Error { case closed, reset, silent }

    /// Some bytes.
    func read(atMost count: Int = 65536) throws(Ending) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let got = Glibc.read(descriptor, &buffer, count)
        if got > 0 { return Array(buffer[..<got]) }
        throw got == 0 ? .closed : errno == EAGAIN ? .silent : .reset
    }

    func readToEnd() -> [UInt8] {
        var all: [UInt8] = []
        while let more = try? read() { all += more }
        return all
    }

    func nextFrame() throws(Ending) -> Frame {
        while true {
            if input.count >= 9 {
                let length = Int(input[0]) << 16 | Int(input[1]) << 8 | Int(input[2])
                if input.count >= 9 + length {
                    let stream = input[5..<9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                    let frame = Frame(
                        type: input[3], flags: input[4], stream: stream, payload: Array(input[9..<9 + length]))
                    input.removeSubrange(..<(9 + length))
                    return frame
                }
            }
            input += try read()
        }
    }

    /// The first frame that is wanted; answers pings and settings on the way as a client would.
    func next(_ kinds: Frame.Kind...) throws(Ending) -> Frame {
        while true {
            let frame = try nextFrame()
            if kinds.contains(where: { $0.rawValue == frame.type }) { return frame }
        }
    }
}
