// Reading and writing keys.

import Foundations
import Wire

extension Client {
    /// Writes a value.
    ///
    /// Not repeated by itself when the answer is lost: after an error with the code `unavailable` or `deadlineExceeded` it
    /// is not known whether it was written. To be sure, read, or write in a ``Transaction`` that asks for the state before.
    ///
    /// - Parameters:
    ///   - lease: The key goes when this lease ends.
    ///   - returningPrevious: Ask for the pair before.
    ///   - timeout: Instead of the configuration's.
    @discardableResult
    public func put(
        _ key: Blob, _ value: Blob, lease: LeaseID? = nil, returningPrevious: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> PutResult {
        let request = PutRequest(key: key.bytes, value: value.bytes, lease: lease?.number ?? 0, prevKv: returningPrevious)
        return PutResult(try await kv.put(request, options(timeout)))
    }

    /// Reads one key; nil when it does not exist.
    ///
    /// - Parameters:
    ///   - revision: As it was then. Nil: now.
    ///   - serializable: From the member that is asked, without agreement of the others: faster, works without a majority,
    ///     and may be old.
    public func get(
        _ key: Blob, at revision: Int64? = nil, serializable: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> KeyValuePair? {
        try await list(.key(key), at: revision, serializable: serializable, timeout: timeout).pairs.first
    }

    /// Reads the pairs of a range, in the order of the keys. For very many see ``pages(of:size:at:)``.
    public func list(
        _ range: KeyRange, limit: Int = 0, keysOnly: Bool = false, at revision: Int64? = nil, serializable: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> Listing {
        var request = RangeRequest(key: range.start.bytes, rangeEnd: range.endBytes, limit: Int64(limit))
        request.revision = revision ?? 0
        request.keysOnly = keysOnly
        request.serializable = serializable
        return Listing(try await kv.range(request, options(timeout)))
    }

    /// How many keys a range has.
    public func count(_ range: KeyRange, timeout: Duration? = nil) async throws(ClientError) -> Int {
        let request = RangeRequest(key: range.start.bytes, rangeEnd: range.endBytes, countOnly: true)
        return Listing(try await kv.range(request, options(timeout))).count
    }

    /// Deletes a key. True when it existed.
    @discardableResult
    public func delete(_ key: Blob, timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await delete(.key(key), timeout: timeout).count > 0
    }

    /// Deletes all keys of a range, at one revision.
    @discardableResult
    public func delete(
        _ range: KeyRange, returningPrevious: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> DeleteResult {
        let request = DeleteRangeRequest(key: range.start.bytes, rangeEnd: range.endBytes, prevKv: returningPrevious)
        return DeleteResult(try await kv.deleteRange(request, options(timeout)))
    }

    /// Forgets the history before a revision. Reads and watches of what is forgotten fail afterwards.
    ///
    /// - Parameter physical: Wait until the space is free for reuse.
    public func compact(before revision: Int64, physical: Bool = false, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await kv.compact(CompactionRequest(revision: revision, physical: physical), options(timeout))
    }

    /// A range of any size, read a page at a time and all at one revision: what others write meanwhile does not show.
    ///
    ///     for try await page in client.pages(of: .prefix("app/")) {
    ///         for pair in page.pairs { print(pair.key, pair.value) }
    ///     }
    ///
    /// Fails when that revision is compacted away before the end.
    public func pages(of range: KeyRange, size: Int = 1000, at revision: Int64? = nil) -> Pages {
        Pages(client: self, range: range, size: size, revision: revision)
    }

    func options(_ timeout: Duration?) -> CallOptions {
        CallOptions(deadline: timeout.map { .after($0) })
    }
}

/// The pages of a large range; see ``Client/pages(of:size:at:)``.
public struct Pages: AsyncSequence, Sendable {
    let client: Client
    let range: KeyRange
    let size: Int
    let revision: Int64?

    public struct Iterator: AsyncIteratorProtocol {
        let client: Client
        let size: Int
        var rest: KeyRange?
        var revision: Int64?

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> Listing? {
            guard let range = rest else { return nil }
            let page = try await client.list(range, limit: size, at: revision)
            revision = revision ?? page.revision
            rest = page.isCut ? page.pairs.last.map { range.after($0.key) } : nil
            return page
        }
    }

    public func makeAsyncIterator() -> Iterator { Iterator(client: client, size: size, rest: range, revision: revision) }
}
