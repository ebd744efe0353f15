import Glibc
import Linux
import Testing

// Places used here are not hit by other tests of this process.
@Suite(.serialized) struct FailpointTests {
    @Test func `an armed place fails at its time and then no more`() throws {
        #expect(Failpoint.logRepair.hit() == .proceed)
        try Failpoint.arm("log.repair=error:ENOSPC@2")
        #expect(Failpoint.logRepair.hit() == .proceed)
        #expect(Failpoint.logRepair.hit() == .fail(errno: ENOSPC))
        #expect(Failpoint.logRepair.hit() == .proceed)
        Failpoint.disarmAll()
    }

    @Test func `from a time on`() throws {
        try Failpoint.arm("log.repair=short:7@2+;log.repair=delay:0")
        #expect(
            (0..<4).map { _ in Failpoint.logRepair.hit() } == [
                .proceed, .short(bytes: 7), .short(bytes: 7), .short(bytes: 7),
            ])
        Failpoint.disarmAll()
        #expect(Failpoint.logRepair.hit() == .proceed)
    }

    @Test(arguments: [
        "nowhere=exit", "log.write", "log.write=error:EPERM", "log.write=exit@0", "log.write=short:x",
        "log.write=exit@x+",
    ])
    func `text that is none of the forms is refused by its part`(text: String) {
        #expect(throws: FailpointSyntax(part: text)) { try Failpoint.arm("log.repair=delay:0;" + text) }
        #expect(Failpoint.logRepair.hit() == .proceed)
    }
}
