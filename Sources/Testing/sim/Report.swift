// Telling which seed failed, also when an invariant of the core has stopped the process: the line is prepared before the
// run, and written by the signal handler.

import Glibc

enum Report {
    /// Written by one thread, read by it or by its signal handler.
    nonisolated(unsafe) private static var line: [CChar] = []

    static func begin(seed: UInt64, breakage: Breakage?) {
        let rule = breakage.map { " --break \($0.rawValue)" } ?? ""
        unsafe line = Array("seed \(seed) FAILED\nreplay: covey-sim --seed \(seed)\(rule) --verbose\n".utf8CString.dropLast())
    }

    static func fail(_ what: String) -> Never {
        print(what)
        fflush(nil)
        writeLine()
        _exit(1)
    }

    static func catchCrashes() {
        for signalNumber in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] {
            signal(signalNumber) { _ in
                Report.writeLine()
                _exit(1)
            }
        }
    }

    private static func writeLine() {
        unsafe line.withUnsafeBufferPointer { _ = unsafe write(1, $0.baseAddress, $0.count) }
    }
}
