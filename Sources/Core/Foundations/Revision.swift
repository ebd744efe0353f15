// A version of the store. Every transaction that changes something takes the next main number; the changes inside it
// are numbered from zero in execution order.

package struct Revision: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var main: Int64
    package var sub: Int64

    @inlinable package init(main: Int64, sub: Int64 = 0) {
        self.main = main
        self.sub = sub
    }

    @inlinable package static func < (a: Revision, b: Revision) -> Bool {
        a.main != b.main ? a.main < b.main : a.sub < b.sub
    }

    package var description: String { "\(main).\(sub)" }
}
