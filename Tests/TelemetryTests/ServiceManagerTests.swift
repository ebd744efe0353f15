import Glibc
import Systemd
import Testing

@Suite struct `Service manager` {
    @Test func `hears every state`() throws {
        let datagrams = Datagrams()
        let manager = ServiceManager(socket: datagrams.path)
        try manager.ready(status: "leader,\nlag 0")
        #expect(datagrams.nextText() == "READY=1\nSTATUS=leader, lag 0")
        try manager.status("follower")
        #expect(datagrams.nextText() == "STATUS=follower")
        try manager.extendTimeout(by: 30_000_000_000)
        #expect(datagrams.nextText() == "EXTEND_TIMEOUT_USEC=30000000")
        try manager.watchdog()
        #expect(datagrams.nextText() == "WATCHDOG=1")
        try manager.stopping()
        #expect(datagrams.nextText() == "STOPPING=1")
    }

    @Test func `absent is no failure, gone is one`() throws {
        try ServiceManager(socket: nil).ready()
        #expect(!ServiceManager(socket: "").isPresent)
        #expect(throws: (any Error).self) { try ServiceManager(socket: "/nonexistent/socket").ready() }
    }

    @Test func `watchdog is only for the process that is named`() {
        let me = String(getpid())
        #expect(
            ServiceManager(socket: nil, watchdog: "20000000", watchdogProcess: me).watchdogInterval == 20_000_000_000)
        #expect(ServiceManager(socket: nil, watchdog: "20000000").watchdogInterval == 20_000_000_000)
        #expect(ServiceManager(socket: nil, watchdog: "20000000", watchdogProcess: "1").watchdogInterval == nil)
        #expect(ServiceManager(socket: nil, watchdog: "0").watchdogInterval == nil)
    }
}
