// Waiting in tests: for a condition, never for a time in which something "ought to" have happened.

import Glibc

/// Looks until the condition holds; false when it did not within a generous time.
package func eventually(seconds: Int = 120, _ condition: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<(seconds * 500) {
        if try condition() { return true }
        usleep(2_000)
    }
    return try condition()
}

/// For tests whose subject is time itself: that nothing happens while it passes.
package func letTimePass(milliseconds: UInt32) { usleep(milliseconds * 1_000) }

/// The same for tests that are tasks: the thread is free meanwhile, which others may need to make the condition true.
package func comesTrue(seconds: Int = 120, _ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<(seconds * 500) {
        if try await condition() { return true }
        // Not cancelled: tests are not.
        try? await Task.sleep(for: .milliseconds(2))
    }
    return try await condition()
}

package func timePasses(milliseconds: Int) async {
    try? await Task.sleep(for: .milliseconds(milliseconds))
}
