// --discovery: the registry is a service with the v2 keys API, one directory of which is the cluster's. Members of etcd up to 3.6
// meet there too, so paths, values and order are theirs:
//
//     GET URL/_config/size                             3
//     GET URL                                          who is there
//     PUT URL/8e9e05c5...?prevExist=false              value=a=http://10.0.0.1:2380
//     GET URL?recursive=true&wait=true&waitIndex=N     answers when there is one more
//
// The URL, letter for letter, is the cluster's token: ids follow from it.

import Connections
import Foundations
import HTTP1
import Linux
import TLSEngine
import struct Synchronization.Atomic

final class KeysRegistry: DiscoveryRegistry {
    // Who is there already was there before: its data may be lost, and with it what it promised.
    let placesAreKept = false

    private static let requestTimeout: UInt64 = 5_000_000_000
    /// Looked at again then: a wait whose connection is lost without a word must not last for ever.
    private static let waitTimeout: UInt64 = 60_000_000_000
    /// Without knowing from where to wait, what came meanwhile is missed.
    private static let blindWaitTimeout: UInt64 = 5_000_000_000

    private let requests: AwaitedRequests
    private let url: RegistryURL
    private let isProxied: Bool
    private let ownID: String
    private let ownValue: String
    /// A registration was sent whose answer is not known.
    private let mayBeThere = Atomic<Bool>(false)

    /// On the loop's thread.
    init(
        _ settings: ServerConfiguration.Discovery, id: String, value: String, loop: EventLoop
    ) throws(ClusterDiscovery.Failure) {
        url = try RegistryURL(settings.url)
        ownID = id
        ownValue = value
        var proxy: HTTPOrigin?
        if !settings.proxy.isEmpty { proxy = try RegistryURL.proxy(settings.proxy) }
        isProxied = proxy != nil
        var configuration = TLSConfiguration.client()
        configuration.applicationProtocols = ["http/1.1"]
        var limits = HTTP1Client.Limits()
        limits.connectTimeout = KeysRegistry.requestTimeout
        // A redirect can lead to https from anywhere, so that there is always trust to check it with.
        do throws(TLSError) {
            requests = AwaitedRequests(
                HTTP1Client(
                    loop: loop, tls: try TLSContext(configuration), resolver: Resolver(loop), limits: limits, proxy: proxy))
        } catch { throw ClusterDiscovery.Failure(description: "discovery: \(error)") }
    }

    func look() async throws -> ClusterDiscovery.Seen {
        // With a quorum: behind the URL may be several members, and one of them may be behind.
        let size = try KeysAnswer(try await ask("GET", "/_config/size", "quorum=true")).size()
        return try KeysAnswer(try await ask("GET", "", "quorum=true")).seen(size: size)
    }

    func register() async throws {
        let wasTried = mayBeThere.exchange(true, ordering: .relaxed)
        let form = "value=" + HTTPPercent.encode(ownValue.utf8)
        let answer = try KeysAnswer(try await ask("PUT", "/\(ownID)", "prevExist=false", form))
        mayBeThere.store(false, ordering: .relaxed)
        switch answer {
        case .node: return
        case .refused(let refusal) where refusal.code == KeysAnswer.Refusal.nodeExists:
            // When an attempt before had no answer, this is the answer.
            guard wasTried, try KeysAnswer(try await ask("GET", "/\(ownID)", "quorum=true")).value == ownValue else {
                throw ClusterDiscovery.Failure.duplicateID
            }
        case .refused(let refusal): throw refusal.failure
        }
    }

    func change(after seen: ClusterDiscovery.Seen) async throws {
        let from = seen.revision.map { "&waitIndex=\($0 + 1)" } ?? ""
        do {
            // Whatever it is, the list is read again: that some event is too old to be told, too.
            _ = try await ask(
                "GET", "", "recursive=true&wait=true" + from,
                timeout: seen.revision == nil ? KeysRegistry.blindWaitTimeout : KeysRegistry.waitTimeout)
        } catch HTTPClientError.timeout {}
    }

    private func ask(
        _ method: String, _ path: String, _ query: String, _ form: String? = nil, timeout: UInt64 = KeysRegistry.requestTimeout
    ) async throws -> AwaitedRequests.Answer {
        var place = url
        place.path += path
        place.query = query
        for _ in 0...KeysAnswer.redirectsMax {
            let answer = try await requests.send(
                method, place.target(isProxied: isProxied), form: form, timeout: timeout, to: place.origin)
            guard let location = answer.redirect else { return answer }
            place = try place.following(location)
        }
        throw ClusterDiscovery.Failure(description: "discovery: \(url) redirects more than \(KeysAnswer.redirectsMax) times")
    }
}
