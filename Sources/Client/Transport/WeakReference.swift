// For tasks and streams that must not keep alive what they work for.

struct WeakReference<Value: AnyObject & Sendable>: Sendable {
    weak let value: Value?

    init(_ value: Value) { self.value = value }
}
