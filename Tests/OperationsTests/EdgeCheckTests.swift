// What is said behind a handshake that failed: what the name that was dialled means on that host.

import Testing

@testable import Operations

@Suite struct EdgeCheckTests {
    @Test func `of an address nothing needs to be said`() {
        #expect(EdgeCheck.resolved("10.0.0.1") == "" && EdgeCheck.resolved("fd00::1") == "")
    }

    @Test func `of a name it is said what it is here`() {
        let text = EdgeCheck.resolved("localhost")
        #expect(text.hasPrefix(" (localhost is ") && (text.contains("127.0.0.1") || text.contains("::1")), "\(text)")
    }

    @Test func `a name nobody knows is called that`() {
        // Reserved: RFC 6761.
        #expect(EdgeCheck.resolved("nobody.invalid").contains("nobody there knows nobody.invalid"))
    }
}
