// What must hold in every build. A false invariant is our own mistake: the process says what, where and with which
// values, and stops, because going on could corrupt what clients were promised. Input from outside is never one.

/// Stops the process with `message` when `condition` is false, in debug and release alike.
@inlinable @inline(__always)
package func invariant(
    _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
    file: StaticString = #fileID, line: UInt = #line
) {
    if !condition() { invariantViolated(message(), file: file, line: line) }
}

/// For a branch that cannot be reached.
package func unreachable(_ message: String, file: StaticString = #fileID, line: UInt = #line) -> Never {
    invariantViolated(message, file: file, line: line)
}

@usableFromInline @inline(never)
package func invariantViolated(_ message: String, file: StaticString, line: UInt) -> Never {
    fatalError("invariant violated: \(message)", file: file, line: line)
}
