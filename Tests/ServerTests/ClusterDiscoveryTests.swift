// What a registry of members to come says, taken apart; Replay/discovery.py has the whole way.

import Foundations
import Testing

@testable import Server

@Suite struct ClusterDiscoveryTests {
    private typealias Failure = ClusterDiscovery.Failure
    private typealias Seen = ClusterDiscovery.Seen

    private func answer(_ status: Int, _ body: String, index: Int64? = nil) throws -> KeysAnswer {
        try KeysAnswer(AwaitedRequests.Answer(status: status, index: index, redirect: nil, body: Bytes(body.utf8)))
    }

    private func seen(_ size: Int, _ texts: [String]) -> Seen {
        Seen(
            size: size,
            members: texts.enumerated().map { Seen.Member(id: "\($0.offset)", text: $0.element, createRevision: Int64($0.offset)) },
            revision: nil)
    }

    // MARK: Who is the cluster

    @Test func `the first by the revision that created them are the cluster`() throws {
        let all = Seen(
            size: 2,
            members: [
                Seen.Member(id: "c", text: "c=http://10.0.0.3:1", createRevision: 9),
                Seen.Member(id: "a", text: "a=http://10.0.0.1:1,a=http://10.0.0.1:2", createRevision: 10),
                Seen.Member(id: "b", text: "b=http://10.0.0.2:1", createRevision: 2),
            ], revision: 12)
        #expect(all.isFull)
        #expect(try all.cluster() == "b=http://10.0.0.2:1,c=http://10.0.0.3:1")
        #expect([all.place(of: "b"), all.place(of: "c"), all.place(of: "a"), all.place(of: "d")] == [0, 1, 2, nil])
        #expect(!seen(2, ["a=http://a:1"]).isFull)
    }

    @Test func `one name for two members is refused, and what is no URL`() {
        #expect(throws: Failure.duplicateName) { try seen(2, ["a=http://a:1", "a=http://b:1"]).cluster() }
        #expect(throws: Failure.duplicateName) { try seen(1, ["a=http://a:1,b=http://b:1"]).cluster() }
        #expect(throws: Failure.invalidURL) { try seen(2, ["a=http://a:1", "rubbish"]).cluster() }
        #expect(throws: Failure.invalidURL) { try seen(1, ["a=http://a"]).cluster() }
        // Who comes too late may be called what he likes.
        #expect(throws: Never.self) { try seen(1, ["a=http://a:1", "a=rubbish"]).cluster() }
    }

    @Test(arguments: ["", "0", "-1", "1001", "many", "3 ", "99999999999999999999"]) func `bad sizes`(_ text: String) {
        #expect(throws: Failure.badSize) { try Seen.size(text) }
    }

    @Test func `sizes`() throws { #expect(try [Seen.size("1"), Seen.size("1000")] == [1, 1000]) }

    // MARK: The v2 keys API

    @Test func `a directory's keys are members, except what is said about the cluster`() throws {
        let text = """
            {"action":"get","node":{"key":"/t","dir":true,"modifiedIndex":4,"createdIndex":4,"nodes":[
              {"key":"/t/_config","dir":true,"modifiedIndex":4,"createdIndex":4},
              {"key":"/t/bb","value":"b=http://b:1","modifiedIndex":30,"createdIndex":8},
              {"key":"/t/aa","value":"a=http://a:1","modifiedIndex":7,"createdIndex":7}]}}
            """
        let list = try answer(200, text, index: 31).seen(size: 3)
        #expect(
            list
                == Seen(
                    size: 3,
                    members: [
                        Seen.Member(id: "aa", text: "a=http://a:1", createRevision: 7),
                        Seen.Member(id: "bb", text: "b=http://b:1", createRevision: 8),
                    ], revision: 31))
        #expect(list.members.map(\.id) == ["aa", "bb"])
        #expect(try answer(200, #"{"node":{"key":"/t","dir":true}}"#).seen(size: 1).members.isEmpty)
    }

    @Test func `sizes and refusals are told apart`() throws {
        #expect(try answer(200, #"{"node":{"key":"/t/_config/size","value":"3"}}"#).size() == 3)
        #expect(throws: Failure.badSize) { try answer(200, #"{"node":{"key":"/t/_config/size","dir":true}}"#).size() }
        let none = try answer(404, #"{"errorCode":100,"message":"Key not found","cause":"/t","index":18}"#)
        #expect(throws: Failure(description: "discovery: size key not found: 100: Key not found (/t) [18]")) { try none.size() }
        #expect(throws: Failure(description: "discovery: 100: Key not found (/t) [18]")) { try none.seen(size: 1) }
        #expect(none.value == nil)
        let there = try answer(412, #"{"errorCode":105,"message":"Key already exists","cause":"/t/aa","index":9}"#)
        #expect(there == .refused(.init(code: KeysAnswer.Refusal.nodeExists, text: "105: Key already exists (/t/aa) [9]")))
    }

    @Test(arguments: [
        (200, "<html>"), (200, ""), (200, "[]"), (200, #"{"node":3}"#), (404, "404 page not found\n"), (403, "{}"), (302, ""),
    ]) func `another page's answers`(_ status: Int, _ body: String) {
        #expect(throws: Failure.badEndpoint) { try answer(status, body) }
    }

    @Test func `keys without what makes them keys are no registry's`() throws {
        for entry in ["{}", #"{"key":"/t/aa"}"#, #"{"key":1,"createdIndex":1}"#, #"{"key":"/t/aa","createdIndex":1.5}"#, "7"] {
            let list = try answer(200, #"{"node":{"key":"/t","nodes":["# + entry + "]}}")
            #expect(throws: Failure.badEndpoint) { try list.seen(size: 1) }
        }
    }

    @Test func `a service in trouble is asked again`() {
        #expect(throws: KeysAnswer.Unavailable(status: 503)) { try answer(503, "{}") }
        #expect(throws: KeysAnswer.Unavailable(status: 500)) { try answer(500, #"{"errorCode":300,"message":"Raft Internal Error"}"#) }
    }

    // MARK: URLs

    @Test(arguments: [
        ("http://10.0.0.1:2379/v2/keys/t", "http://10.0.0.1:2379", "/v2/keys/t"),
        ("HTTPS://registry/t/", "https://registry:443", "/t"),
        ("http://registry", "http://registry:80", ""),
        ("http://[::1]:1//a/../b c", "http://[::1]:1", "/b%20c"),
        ("http://[::1]/t", "http://[::1]:80", "/t"),
        ("http://a/%7Et/é#x", "http://a:80", "/%7Et/%C3%A9"),
    ]) func `where a service is`(_ text: String, _ origin: String, _ path: String) throws {
        let url = try RegistryURL(text)
        #expect("\(url.origin)" == origin)
        #expect(url.path == path)
    }

    @Test(arguments: [
        "", "10.0.0.1:2379/t", "ftp://a/t", "http://", "http:///t", "http://:1/t", "http://a:/t", "http://a:0/t", "http://a:65536/t",
        "http://a:b/t", "http://a:1:2/t", "http://u:p@a/t", "http://a/%zz", "http://a/%", "http://a b/t", "http://a\r\nX: y/t",
    ]) func `what is no URL of a service`(_ text: String) {
        #expect(throws: Failure.self) { try RegistryURL(text) }
    }

    @Test func `requests are for a path, or, through a proxy, for a URL`() throws {
        var url = try RegistryURL("http://a:1/t?ignored=1")
        url.query = "wait=true"
        url.path += "/k"
        #expect(url.target(isProxied: false) == "/t/k?wait=true")
        #expect(url.target(isProxied: true) == "http://a:1/t/k?wait=true")
        #expect(try RegistryURL("https://a/t").target(isProxied: true) == "/t")
        #expect(try RegistryURL("http://a:1").target(isProxied: true) == "http://a:1/")
        #expect(try url.following("/other?x=y").description == "http://a:1/other?x=y")
        #expect(try url.following("https://b/other").description == "https://b:443/other")
        #expect(throws: Failure.self) { try url.following("other") }
    }

    @Test func `proxies`() throws {
        #expect(try RegistryURL.proxy("10.0.0.1:3128").description == "http://10.0.0.1:3128")
        #expect(try RegistryURL.proxy("http://proxy").description == "http://proxy:80")
        for text in ["https://proxy", "http://%zz:x", "socks5://proxy"] {
            #expect(throws: Failure.self) { try RegistryURL.proxy(text) }
        }
    }
}
