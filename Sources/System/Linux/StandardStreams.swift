// Standard input, output and error of a command: whole writes, lines and words in, passwords without an echo.

import CLinux
import Glibc

package enum StandardStreams {
    /// Writes all of it. False when nobody reads any more.
    @discardableResult
    package static func write(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done)
            }
            if count < 0 {
                if errno == EINTR { continue }
                return false
            }
            done += count
        }
        return true
    }

    package static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Columns of the terminal on a descriptor; 80 when it does not say.
    package static func columns(_ descriptor: Int32) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Runs `body` with the terminal not showing what is typed, when standard input is one.
    package static func withoutEcho<Result>(_ body: () -> Result) -> Result {
        var settings = termios()
        guard isatty(0) == 1, unsafe tcgetattr(0, &settings) == 0 else { return body() }
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        // What was typed ahead counts: a program at the other end of a terminal does not wait for us.
        unsafe tcsetattr(0, TCSADRAIN, &silent)
        defer { unsafe tcsetattr(0, TCSADRAIN, &settings) }
        return body()
    }
}

/// Standard input, read on demand. Used by one task at a time.
package final class StandardInput {
    private var buffer: [UInt8] = []
    private var start = 0
    private var ended = false

    package init() {}

    /// Everything up to the end.
    package func readAll() -> [UInt8] {
        while fill() {}
        defer { start = buffer.count }
        return Array(buffer[start...])
    }

    /// The next line without its end. At the end of the input nil; `partial` lets an unfinished last line count.
    package func readLine(partial: Bool = false) -> [UInt8]? {
        var searched = start
        while true {
            if let end = buffer[searched...].firstIndex(of: 0x0a) {
                defer { start = end + 1 }
                return Array(buffer[start..<end])
            }
            searched = buffer.count
            let waiting = buffer.count - start
            if !fill() { break }
            // Filling may have moved what waits to the front.
            searched = start + waiting
        }
        guard partial, start < buffer.count else { return nil }
        defer { start = buffer.count }
        return Array(buffer[start...])
    }

    /// False at the end.
    private func fill() -> Bool {
        guard !ended else { return false }
        if start > 65536 {
            buffer.removeFirst(start)
            start = 0
        }
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe piece.withUnsafeMutableBytes { unsafe Glibc.read(0, $0.baseAddress, $0.count) }
            if count > 0 {
                buffer += piece[..<count]
                return true
            }
            if count < 0, errno == EINTR { continue }
            ended = true
            return false
        }
    }
}
