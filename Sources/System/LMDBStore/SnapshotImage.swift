// Stub to be replaced in the next commit.
package final class SnapshotImage {
    init(_ environment: Environment) throws(StoreError) {}
}
