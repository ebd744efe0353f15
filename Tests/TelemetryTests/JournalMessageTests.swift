// The table of messages with an id: what people and their alarms rely on.

import Foundation
import Testing

@testable import Telemetry

@Suite struct JournalMessageTests {
    @Test func `ids are 128 bits, each used once`() {
        let ids = (JournalMessage.all + JournalMessage.ofAgents).map(\.id)
        #expect(Set(ids).count == ids.count)
        for id in ids { #expect(id.count == 32 && id.allSatisfy { "0123456789abcdef".contains($0) }) }
    }

    @Test func `a record of a known message carries its id`() throws {
        let datagrams = Datagrams()
        let sink = try JournalSink(identifier: "covey", message: .plain, path: datagrams.path)
        let known = JournalMessage.all[0]
        sink.write(LogRecord(level: .info, time: 0, file: "Server/Boot.swift", line: 1, message: known.text))
        #expect(datagrams.nextText().contains("\nMESSAGE_ID=\(known.id)\n"))
        sink.write(LogRecord(level: .info, time: 0, file: "Server/Boot.swift", line: 1, message: "something else"))
        #expect(!datagrams.nextText().contains("MESSAGE_ID="))
    }

    @Test func `the server says every message that is explained`() throws {
        let server = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/Server").path
        let names = try #require(FileManager.default.enumerator(atPath: server)).compactMap { $0 as? String }
        let sources = names.filter { $0.hasSuffix(".swift") }
            .map { (try? String(contentsOfFile: server + "/" + $0, encoding: .utf8)) ?? "" }
        for message in JournalMessage.all {
            #expect(sources.contains { $0.contains("\"\(message.text)\"") }, "nobody says \(message.text)")
        }
    }

    @Test func `the catalog has an entry for each, with a subject`() {
        let entries = JournalMessage.catalog.components(separatedBy: "\n-- ").dropFirst()
        let messages = JournalMessage.all + JournalMessage.ofAgents
        #expect(entries.count == messages.count)
        for (entry, message) in zip(entries, messages) {
            #expect(entry.hasPrefix("\(message.id)\nSubject: \(message.subject)\nDefined-By: covey\n"))
        }
    }
}
