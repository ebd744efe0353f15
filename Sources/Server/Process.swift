// What the kernel says of this process.

import Glibc

enum Process {
    static func descriptorLimit() -> Int {
        var limit = rlimit()
        return unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 ? Int(clamping: limit.rlim_cur) : 0
    }

    static func environment() -> [String] {
        var result: [String] = []
        var next = unsafe environ
        while let entry = unsafe next.pointee {
            result.append(unsafe String(cString: entry))
            unsafe next += 1
        }
        return result
    }

    static func variable(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    static func read(_ path: String) -> Result<[UInt8], ServerCommandLine.FileUnreadable> {
        let file = unsafe fopen(path, "r")
        guard let file = unsafe file else {
            return .failure(ServerCommandLine.FileUnreadable(unsafe String(cString: strerror(errno)).lowercased()))
        }
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, file)
            if count == 0 { return .success(bytes) }
            bytes += buffer[..<count]
        }
    }

    static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count <= 0 { return }
            rest = rest.dropFirst(count)
        }
    }

    static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

    /// The parent sees that the signal did it.
    static func endBy(_ signal: Int32) {
        Glibc.signal(signal, SIG_DFL)
        var set = sigset_t()
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, signal)
        unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
        raise(signal)
    }
}
