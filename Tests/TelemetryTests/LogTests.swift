// Lines of the log, byte for byte where other people's tools read them.

import Glibc
import JSON
import Linux
import Testing

@testable import Telemetry

/// Keeps records.
final class Collected: LogSink {
    let records = Mutex<[LogRecord]>([])
    func write(_ record: LogRecord) { records.withLock { $0.append(record) } }
    var messages: [String] { records.withLock { $0.map(\.message) } }
}

private let sample = LogRecord(
    level: .warn, time: 1_795_242_800_778_999_999, logger: "raft", file: "Server/Boot.swift", line: 12,
    message: "slow \"disk\"\n",
    fields: [
        ("took", .duration(900_000_000)), ("count", 3), ("ok", true), ("urls", .texts(["http://a:1"])),
        ("id", "8e9e05c52164694d"), ("share", .number(0.5)), ("nothing", .null), ("big", .unsigned(.max)),
    ])

@Suite struct `Log lines` {
    @Test func `in JSON have etcd's names in etcd's order`() throws {
        let line = String(decoding: LogFormat.json.line(sample), as: UTF8.self)
        let time = LogTime.text(sample.time)
        #expect(
            line == "{\"level\":\"warn\",\"ts\":\"\(time)\",\"logger\":\"raft\",\"caller\":\"Server/Boot.swift:12\","
                + "\"msg\":\"slow \\\"disk\\\"\\n\",\"took\":\"900ms\",\"count\":3,\"ok\":true,\"urls\":[\"http://a:1\"],"
                + "\"id\":\"8e9e05c52164694d\",\"share\":0.5,\"nothing\":null,\"big\":18446744073709551615}\n")
    }

    @Test func `on a console are separated by tabs`() {
        var record = sample
        record.fields = [("a", 1)]
        record.message = "m"
        let time = LogTime.text(sample.time)
        #expect(
            String(decoding: LogFormat.console.line(record), as: UTF8.self)
                == "\(time)\twarn\traft\tServer/Boot.swift:12\tm\t{\"a\":1}\n")
    }

    @Test func `carry local time with milliseconds and zone`() throws {
        let text = LogTime.text(sample.time)
        #expect(text.hasPrefix("2026-11-2"))
        #expect(text.contains(".778"))
        #expect(text.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d{4})/) != nil)
    }
}

@Suite struct Levels {
    @Test func `below the threshold build nothing`() {
        let sink = Collected()
        let log = Logger(level: .warn, outputs: [sink])
        var built = 0
        func costly() -> String { built += 1; return "x" }
        log.info(costly())
        log.debug("a", ["b": "\(costly())"])
        log.warn(costly())
        #expect(built == 1)
        log.level = .debug
        log.debug(costly())
        #expect(sink.messages == ["x", "x"])
    }

    @Test func `have names and syslog numbers`() {
        #expect(LogLevel.allCases.map(\.name) == ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"])
        #expect(LogLevel.allCases.map(\.priority) == [7, 6, 4, 3, 2, 2, 2])
        #expect(LogLevel("zz") == nil)
    }

    @Test func `children carry name and fields`() {
        let sink = Collected()
        let log = Logger(level: .info, outputs: [sink]).named("raft", ["member": "a"]).named("vote")
        log.info("m", ["term": 2])
        sink.records.withLock { records in
            #expect(records[0].logger == "raft.vote")
            #expect(records[0].fields.map(\.name) == ["member", "term"])
        }
    }

    @Test func `a flood of one line is thinned, others pass`() {
        var sampler = LogSampler()
        var record = sample
        var kept = 0
        for _ in 0..<1000 where !sampler.drops(record) { kept += 1 }
        #expect(kept == 109)
        record.message = "another"
        let droppedAnother = sampler.drops(record)
        record.message = sample.message
        record.time += 1_000_000_000
        let droppedNextSecond = sampler.drops(record)
        #expect(!droppedAnother && !droppedNextSecond)
    }

    @Test func `a limiter counts what it holds back`() {
        var limiter = LogLimiter(interval: 10)
        #expect([5, 6, 14, 15].map { limiter.allows(now: $0) } == [0, nil, nil, 2])
    }
}

@Suite struct Outputs {
    @Test(arguments: [
        (["default", "a.log"], false, "multi logoutput for \"default\" is not supported yet"),
        (
            ["stderr", "stdout"], true,
            "--log-outputs requires a single file path when --log-rotate-config-json is defined"
        ),
        (["default"], true, "--log-outputs requires a single file path when --log-rotate-config-json is defined"),
    ])
    func `that contradict are refused in etcd's words`(outputs: [String], rotates: Bool, message: String) {
        var settings = LogSettings()
        settings.outputs = outputs
        settings.rotation = rotates ? LogRotation() : nil
        let refused = #expect(throws: LogSettings.Refused.self) { try settings.verify() }
        #expect(refused?.description == message)
    }

    @Test func `to a file append, and reopen after a rename`() throws {
        let path = TemporaryFolder.make() + "/a.log"
        var settings = LogSettings()
        settings.outputs = [path]
        let log = try settings.open()
        log.info("first")
        rename(path, path + ".1")
        log.info("second")
        log.reopen()
        log.info("third")
        #expect(TemporaryFolder.read(path + ".1").contains("second"))
        #expect(TemporaryFolder.read(path).contains("third"))
        #expect(!TemporaryFolder.read(path).contains("second"))
    }

    @Test func `that cannot be opened say which`() {
        var settings = LogSettings()
        settings.outputs = ["/nonexistent/folder/a.log"]
        #expect(throws: (any Error).self) { try settings.open() }
    }

    @Test func `rotate at a size and keep the newest`() throws {
        let folder = TemporaryFolder.make()
        var rotation = LogRotation()
        rotation.maxBackups = 2
        let sink = try RotatingFileSink(folder + "/a.log", .json, rotation, bytesMax: 300)
        var record = sample
        for i in 0..<8 {
            record.time += 1_000_000_000
            record.message = "line \(i)"
            sink.write(record)
        }
        let names = TemporaryFolder.names(folder)
        #expect(names.count == 3)
        #expect(names.contains("a.log"))
        #expect(TemporaryFolder.read(folder + "/a.log").contains("line 7"))
        #expect(TemporaryFolder.read(folder + "/" + names[0]).contains("line 5"))
    }

    @Test(
        arguments: [
            ("{\"maxsize\": 5, \"maxage\": 1, \"maxbackups\": 2, \"localtime\": true, \"compress\": true}", nil),
            ("{}", nil), ("{\"maxsize\": true}", "invalid log rotation config: "),
            ("[", "improperly formatted log rotation config: "),
        ] as [(String, String?)])
    func `rotation options are JSON`(text: String, prefix: String?) {
        do {
            let rotation = try LogRotation(json: text)
            #expect(prefix == nil)
            #expect(rotation.maxSizeMegabytes == (text == "{}" ? 100 : 5))
        } catch {
            #expect(prefix != nil && error.description.hasPrefix(prefix ?? ""))
        }
    }

    @Test func `threads do not mix lines`() async throws {
        let path = TemporaryFolder.make() + "/a.log"
        let log = Logger(level: .info, outputs: [try FileSink(path, .json)], sampling: false)
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<4 {
                group.addTask { for i in 0..<200 { log.info("line", ["thread": .integer(thread), "i": .integer(i)]) } }
            }
        }
        let lines = TemporaryFolder.read(path).split(separator: "\n")
        #expect(lines.count == 800)
        for line in lines { _ = try JSONValue(parsing: String(line)) }
    }
}

@Suite struct Journal {
    @Test func `gets priority, message and fields`() throws {
        let datagrams = Datagrams()
        let sink = try JournalSink(identifier: "etcd", message: .plain, path: datagrams.path)
        var record = sample
        record.message = "two\nlines"
        record.fields = [("member-id", "8e9e"), ("took", .duration(1_000_000))]
        sink.write(record)
        let text = datagrams.next()
        let body = "raft: two\nlines member-id=8e9e took=1ms"
        let length = (0..<8).map { UInt8(truncatingIfNeeded: body.utf8.count >> ($0 * 8)) }
        #expect(text.starts(with: Array("MESSAGE\n".utf8) + length + Array(body.utf8) + [0x0a]))
        #expect(
            String(decoding: text, as: UTF8.self).hasSuffix(
                "PRIORITY=4\nSYSLOG_IDENTIFIER=etcd\nCODE_FILE=Server/Boot.swift\nCODE_LINE=12\nPACKAGE=raft\n"
                    + "COVEY_MEMBER_ID=8e9e\nCOVEY_TOOK=1ms\n"))
    }

    @Test func `gets etcd's JSON line when asked by name, and long lines cut`() throws {
        let datagrams = Datagrams()
        let sink = try JournalSink(identifier: "etcd", message: .json, path: datagrams.path)
        var record = sample
        record.message = String(repeating: "x", count: 1_000_000)
        record.fields = []
        sink.write(record)
        let text = datagrams.nextText()
        #expect(text.hasPrefix("MESSAGE={\"level\":\"warn\",\"ts\":\""))
        #expect(text.contains(" bytes, cut)\nPRIORITY=4\n"))
        #expect(text.utf8.count < 140_000)
    }

    @Test func `is recognised by device and inode`() {
        #expect(JournalDetection.matches("8:1234", device: 8, inode: 1234))
        #expect(!JournalDetection.matches("8:1235", device: 8, inode: 1234))
        #expect(!JournalDetection.matches("", device: 8, inode: 1234))
    }
}
