// A named thread that runs one body to its end, for the helpers that block on a disk. Loops have threads of their own.

import CLinux
import Glibc

package final class BackgroundThread: Sendable {
    private let handle: pthread_t

    /// Starts at once. The name shows in `top -H`; Linux keeps fifteen characters of it.
    package init(name: String, _ body: @escaping @Sendable () -> Void) {
        let box = unsafe Unmanaged.passRetained(Start(name, body)).toOpaque()
        var handle = pthread_t()
        let status = unsafe pthread_create(&handle, nil, { unsafe runThread($0) }, box)
        guard status == 0 else { fatalError("cannot start thread \(name): error \(status)") }
        self.handle = handle
    }

    /// Waits for the end of the body. Once.
    package func join() { pthread_join(handle, nil) }

    /// Nobody will wait; the thread frees itself. Instead of `join`, once.
    package func detach() { pthread_detach(handle) }

    fileprivate final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}

/// The one place where a thread gets back what it was started with.
private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument = unsafe argument else { return nil }
    let start = unsafe Unmanaged<BackgroundThread.Start>.fromOpaque(argument).takeRetainedValue()
    unsafe covey_thread_name(String(start.name.prefix(15)))
    start.body()
    return nil
}
