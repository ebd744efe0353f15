import Testing

@testable import Server

@Suite struct HealthTests {
    @Test func `healthy`() {
        let reason = HealthEndpoint.reason(HealthFacts(), serializable: false, exclude: [])
        #expect(HealthEndpoint.response(reason: reason).body == #"{"health":"true","reason":""}"#)
        #expect(HealthEndpoint.response(reason: reason).status == 200)
    }

    @Test(
        arguments: [
            (HealthFacts(alarms: [.noSpace]), false, [], "ALARM NOSPACE"),
            (HealthFacts(alarms: [.noSpace, .corrupt]), false, ["NOSPACE"], "ALARM CORRUPT"),
            (HealthFacts(alarms: [.noSpace, .noSpace]), false, ["NOSPACE"], nil),
            (HealthFacts(hasLeader: false), false, [], "RAFT NO LEADER"),
            (HealthFacts(hasLeader: false), true, [], nil),
            (HealthFacts(linearizableRead: "etcdserver: request timed out"), false, [], "RANGE ERROR:etcdserver: request timed out"),
        ] as [(HealthFacts, Bool, [String], String?)])
    func `reasons in order`(facts: HealthFacts, serializable: Bool, exclude: [String], reason: String?) {
        #expect(HealthEndpoint.reason(facts, serializable: serializable, exclude: exclude) == reason)
    }

    @Test func `an unhealthy body ends in a newline`() {
        let response = HealthEndpoint.response(reason: "ALARM NOSPACE")
        #expect(response.status == 503)
        #expect(response.body == "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n")
    }

    @Test func `readyz lists what failed`() {
        let response = HealthCheck.response(HealthCheck.ready, HealthFacts(isLearner: true), verbose: false)
        #expect(response.status == 503)
        #expect(response.body.hasSuffix("[-]non_learner failed: not supported for learner\n\n"))
        #expect(HealthCheck.response(HealthCheck.live, HealthFacts(), verbose: true).body == "[+]serializable_read ok\nok\n")
        #expect(HealthCheck.response(HealthCheck.live, HealthFacts(), verbose: false).body == "ok\n")
    }

    @Test func `gateway paths`() {
        #expect(GatewayRoute.find(path: "/v3/kv/range")?.method == "/etcdserverpb.KV/Range")
        #expect(GatewayRoute.find(path: "/v3beta/kv/lease/revoke")?.method == "/etcdserverpb.Lease/LeaseRevoke")
        #expect(GatewayRoute.find(path: "/v3/watch")?.kind == .stream)
        #expect(GatewayRoute.find(path: "/v3/kv/range/") == nil)
        #expect(GatewayRoute.find(path: "/v3alpha/kv/range") == nil)
    }
}
