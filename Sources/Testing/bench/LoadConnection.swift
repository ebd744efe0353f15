// The load's end of one connection: HTTP/2 and gRPC as far as a load generator needs them. A general client would cost as
// much as the server under test and hide it; this one writes requests whose heads are a few bytes (every field is in the
// peer's dynamic table after the first) and of the answers reads frame headers, lengths and whether there was a message.
//
// An answer that ends without a message is a failure: trailers-only is how gRPC reports an error.

import Foundations
import Glibc

/// What a load does with its answers.
protocol LoadOwner: AnyObject {
    /// A message on a stream that was opened with `keepsMessages`.
    func message(_ connection: LoadConnection, _ stream: Int32, _ message: UnsafeRawBufferPointer)
    /// A call has ended; `latency` is from `open` to here, in nanoseconds.
    func ended(_ connection: LoadConnection, _ stream: Int32, ok: Bool, latency: UInt64)
}

/// A method, and its request's head once a connection's table holds every field: then it is the same few bytes each time.
struct LoadMethod {
    let path: String
    init(_ path: String) { self.path = path }
}

/// Its one pointer is its own receive buffer: freed in deinit, never handed out beyond a call.
@safe final class LoadConnection {
    private struct Stream {
        var id: Int32 = 0
        var started: UInt64 = 0
        var hasMessage = false
        var keepsMessages = false
        var partial: [UInt8] = []
    }

    /// Streams in flight are close together in number: a ring indexed by number.
    private static let ring = 1 << 12
    private static let inputSize = 1 << 18

    let descriptor: Int32
    let index: Int
    private unowned let owner: any LoadOwner
    private var streams = [Stream](repeating: Stream(), count: LoadConnection.ring)
    private var next: Int32 = 1
    private(set) var inFlight = 0
    private var output: [UInt8] = []
    private let input: UnsafeMutablePointer<UInt8>
    private var filled = 0
    private var room = 65_535
    private var unacknowledged = 0
    /// Fields in the peer's dynamic table, oldest first.
    private var table: [String] = []
    private var head: [UInt8] = []
    private var headPath = ""
    /// Why the connection cannot go on.
    private(set) var broken: String?
    let port: Int

    convenience init(port: Int, index: Int, owner: any LoadOwner) {
        guard let descriptor = LoadConnection.connect(port) else { fail("connect to port \(port): errno \(errno)") }
        self.init(descriptor, port, index, owner)
    }

    /// Nil when nobody listens.
    convenience init?(trying port: Int, index: Int, owner: any LoadOwner) {
        guard let descriptor = LoadConnection.connect(port) else { return nil }
        self.init(descriptor, port, index, owner)
    }

    private init(_ descriptor: Int32, _ port: Int, _ index: Int, _ owner: any LoadOwner) {
        self.port = port
        self.index = index
        self.owner = owner
        self.descriptor = descriptor
        unsafe input = .allocate(capacity: LoadConnection.inputSize)
        output += Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        // No push; a window that is never the limit.
        frame(type: 4, flags: 0, stream: 0, [0, 2, 0, 0, 0, 0] + [0, 4] + big(1 << 30))
        frame(type: 8, flags: 0, stream: 0, big((1 << 30) - 65_535))
        flush()
    }

    deinit {
        close(descriptor)
        unsafe input.deallocate()
    }

    /// Opens a call with its first message; nil when the peer's window is closed just now.
    @discardableResult
    func open(_ method: LoadMethod, _ message: [UInt8], now: UInt64, ends: Bool = true, keepsMessages: Bool = false) -> Int32? {
        guard room >= message.count + 5 else { return nil }
        let id = next
        next += 2
        let place = Int(id >> 1) & (LoadConnection.ring - 1)
        invariant(streams[place].id == 0, "stream \(streams[place].id) has been open for \(LoadConnection.ring) calls")
        streams[place].id = id
        streams[place].started = now
        streams[place].hasMessage = false
        streams[place].keepsMessages = keepsMessages
        inFlight += 1
        writeHead(method, id)
        data(id, message, ends: ends)
        return id
    }

    /// One more message on an open stream.
    func send(_ id: Int32, _ message: [UInt8], now: UInt64) {
        streams[Int(id >> 1) & (LoadConnection.ring - 1)].started = now
        data(id, message, ends: false)
    }

    func started(_ id: Int32) -> UInt64 { streams[Int(id >> 1) & (LoadConnection.ring - 1)].started }

    /// Writes what has gathered.
    func flush() {
        var sent = 0
        while sent < output.count {
            let count = unsafe output.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress! + sent, output.count - sent) }
            if count <= 0 {
                if count < 0 && errno == EINTR { continue }
                // The socket is full: the rest goes with the next flush; `wantsToWrite` says so.
                break
            }
            sent += count
        }
        output.removeSubrange(..<sent)
    }

    var wantsToWrite: Bool { !output.isEmpty }

    /// Reads what is there and tells the owner.
    func read(now: UInt64) {
        let count = unsafe Glibc.read(descriptor, input + filled, LoadConnection.inputSize - filled)
        guard count > 0 else {
            if count == 0 { broken = "end of input" } else if errno != EAGAIN && errno != EINTR { broken = "errno \(errno)" }
            return
        }
        filled += count
        var at = 0
        while filled - at >= 9 {
            let length = unsafe Int(input[at]) << 16 | Int(input[at + 1]) << 8 | Int(input[at + 2])
            guard filled - at >= 9 + length else { break }
            unsafe handle(at + 9, length, type: input[at + 3], flags: input[at + 4], stream: number(at + 5), now)
            at += 9 + length
        }
        if at > 0 {
            unsafe memmove(input, input + at, filled - at)
            filled -= at
        }
        if unacknowledged > 1 << 20 {
            frame(type: 8, flags: 0, stream: 0, big(UInt32(unacknowledged)))
            unacknowledged = 0
        }
    }

    private func handle(_ start: Int, _ length: Int, type: UInt8, flags: UInt8, stream id: Int32, _ now: UInt64) {
        switch type {
        case 0:
            unacknowledged += length
            let place = Int(id >> 1) & (LoadConnection.ring - 1)
            if streams[place].id == id {
                streams[place].hasMessage = streams[place].hasMessage || length >= 5
                if streams[place].keepsMessages { messages(place, id, start, length) }
            }
            if flags & 1 != 0 { end(id, now) }
        case 1: if flags & 1 != 0 { end(id, now) }
        case 3: end(id, now, isReset: true)
        case 4:
            if flags & 1 == 0 { frame(type: 4, flags: 1, stream: 0, []) }
        case 6:
            if flags & 1 == 0 {
                frame(type: 6, flags: 1, stream: 0, unsafe Array(UnsafeBufferPointer(start: input + start, count: length)))
            }
        case 7:
            let text = unsafe String(decoding: UnsafeBufferPointer(start: input + start + 8, count: max(0, length - 8)), as: UTF8.self)
            broken = "GOAWAY, error \(number(start + 4)) \(text)"
        case 8: if id == 0 { room += Int(number(start)) }
        default: break
        }
    }

    private func end(_ id: Int32, _ now: UInt64, isReset: Bool = false) {
        let place = Int(id >> 1) & (LoadConnection.ring - 1)
        guard streams[place].id == id else { return }
        let (ok, started) = (streams[place].hasMessage && !isReset, streams[place].started)
        streams[place].id = 0
        inFlight -= 1
        owner.ended(self, id, ok: ok, latency: now &- started)
    }

    /// Cuts a stream's bytes into messages; gives the stream its window back now and then.
    private func messages(_ place: Int, _ id: Int32, _ start: Int, _ length: Int) {
        frame(type: 8, flags: 0, stream: id, big(UInt32(max(1, length))))
        if streams[place].partial.isEmpty {
            let left = unsafe cut(id, UnsafeRawBufferPointer(start: input + start, count: length))
            if left > 0 {
                streams[place].partial = unsafe Array(UnsafeBufferPointer(start: input + start + length - left, count: left))
            }
        } else {
            var whole: [UInt8] = []
            swap(&whole, &streams[place].partial)
            unsafe whole.append(contentsOf: UnsafeBufferPointer(start: input + start, count: length))
            let left = unsafe whole.withUnsafeBytes { unsafe cut(id, $0) }
            streams[place].partial = Array(whole.suffix(left))
        }
    }

    private func cut(_ id: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        var at = 0
        while bytes.count - at >= 5 {
            let size = unsafe Int(bytes[at + 1]) << 24 | Int(bytes[at + 2]) << 16 | Int(bytes[at + 3]) << 8 | Int(bytes[at + 4])
            guard bytes.count - at >= 5 + size else { break }
            unsafe owner.message(self, id, UnsafeRawBufferPointer(rebasing: bytes[(at + 5)..<(at + 5 + size)]))
            at += 5 + size
        }
        return bytes.count - at
    }

    // MARK: Writing

    private func data(_ id: Int32, _ message: [UInt8], ends: Bool) {
        header(count: message.count + 5, type: 0, flags: ends ? 1 : 0, stream: id)
        output.append(0)
        append32(UInt32(message.count))
        output.append(contentsOf: message)
        room -= message.count + 5
    }

    private func writeHead(_ method: LoadMethod, _ id: Int32) {
        if !head.isEmpty && headPath == method.path {
            header(count: head.count, type: 1, flags: 0x4, stream: id)
            output.append(contentsOf: head)
            return
        }
        let (start, known) = (output.count, table.count)
        header(count: 0, type: 1, flags: 0x4, stream: id)
        output.append(0x83)  // :method POST
        output.append(0x86)  // :scheme http
        field(":path", name: 4, method.path)
        field(":authority", name: 1, "127.0.0.1")
        field("content-type", name: 31, "application/grpc")
        field("te", name: 0, "trailers")
        field("user-agent", name: 58, "covey-bench")
        setLength(at: start)
        // A head that adds to the table moves the places of what is there.
        head = table.count == known ? Array(output[(start + 9)...]) : []
        headPath = method.path
    }

    private func field(_ name: String, name staticIndex: UInt8, _ value: String) {
        let entry = name == ":path" ? value : name
        if let position = table.firstIndex(where: { $0 == entry }) {
            output.append(0x80 | UInt8(62 + table.count - 1 - position))
            return
        }
        table.append(entry)
        output.append(0x40 | staticIndex)
        if staticIndex == 0 { literal(name) }
        literal(value)
    }

    private func literal(_ text: String) {
        output.append(UInt8(text.utf8.count))
        output.append(contentsOf: text.utf8)
    }

    private func frame(type: UInt8, flags: UInt8, stream: Int32, _ payload: [UInt8]) {
        header(count: payload.count, type: type, flags: flags, stream: stream)
        output.append(contentsOf: payload)
    }

    private func header(count: Int, type: UInt8, flags: UInt8, stream: Int32) {
        output.append(UInt8(truncatingIfNeeded: count >> 16))
        output.append(UInt8(truncatingIfNeeded: count >> 8))
        output.append(UInt8(truncatingIfNeeded: count))
        output.append(type)
        output.append(flags)
        append32(UInt32(stream))
    }

    private func setLength(at start: Int) {
        let count = output.count - start - 9
        output[start + 1] = UInt8(count >> 8)
        output[start + 2] = UInt8(truncatingIfNeeded: count)
    }

    private func append32(_ value: UInt32) {
        output.append(UInt8(truncatingIfNeeded: value >> 24))
        output.append(UInt8(truncatingIfNeeded: value >> 16))
        output.append(UInt8(truncatingIfNeeded: value >> 8))
        output.append(UInt8(truncatingIfNeeded: value))
    }

    private func big(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }

    private func number(_ at: Int) -> Int32 {
        unsafe Int32(input[at] & 0x7f) << 24 | Int32(input[at + 1]) << 16 | Int32(input[at + 2]) << 8 | Int32(input[at + 3])
    }

    private static func connect(_ port: Int) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        var one: Int32 = 1
        unsafe setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        return descriptor
    }
}
