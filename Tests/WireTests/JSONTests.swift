import Foundations
import Testing
import Wire

@testable import JSON

@Suite struct JSONTests {
    @Test(arguments: [
        ("null", "null"), (" true ", "true"), ("[ ]", "[]"), ("{ }", "{}"), ("0", "0"), ("-0", "-0"),
        ("[1 , -2.5e+10,0.1E-3]", "[1,-2.5e+10,0.1E-3]"), (#"{"a":{"b":[{}]},"a":1}"#, #"{"a":{"b":[{}]},"a":1}"#),
        (#""\u0041\/\b\f\n\r\t\"\\""#, #""A/\u0008\u000c\n\r\t\"\\""#), (#""\ud83d\ude00""#, "\"😀\""),
        (#""\ud83d""#, "\"\u{fffd}\""), (#""\ud83dx""#, "\"\u{fffd}x\""),
        (#""\ude00\ud83d\u0041""#, "\"\u{fffd}\u{fffd}A\""),
        ("18446744073709551615", "18446744073709551615"), ("\"é\"", "\"é\""), ("\"<&>\"", "\"<&>\""),
    ]) func `reads and writes`(text: String, written: String) throws {
        #expect(try JSONValue(parsing: text).text() == written)
    }

    @Test(arguments: [
        ("", JSONError.Kind.unexpectedEnd, 0), ("{", .unexpectedEnd, 1), ("[1", .unexpectedEnd, 2),
        ("\"a", .unexpectedEnd, 2),
        ("{bad", .unexpected(0x62, expected: "beginning of object key string"), 1),
        ("[1,]", .unexpected(0x5d, expected: "beginning of value"), 3),
        ("{\"a\":1,}", .unexpected(0x7d, expected: "beginning of object key string"), 7),
        ("tru", .unexpectedEnd, 3), ("trux", .unexpected(0x78, expected: "literal true"), 3), ("01", .badNumber, 0),
        ("-", .unexpectedEnd, 0), ("-a", .badNumber, 0), ("1.", .unexpectedEnd, 0), ("1.x", .badNumber, 0),
        ("1e", .unexpectedEnd, 0), ("\"\u{1}\"", .controlCharacter, 1), (#""\x""#, .badEscape, 1),
        (#""\u12g4""#, .badEscape, 5), ("1 2", .trailingBytes, 2),
        ("+1", .unexpected(0x2b, expected: "beginning of value"), 0),
        ("NaN", .unexpected(0x4e, expected: "beginning of value"), 0),
    ]) func `refuses`(text: String, kind: JSONError.Kind, offset: Int) {
        #expect(throws: JSONError(kind, at: offset)) { try JSONValue(parsing: text) }
    }

    @Test func `depth is bounded`() throws {
        let deep = String(repeating: "[", count: 200) + String(repeating: "]", count: 200)
        #expect(try JSONValue(parsing: deep).text() == deep)
        #expect(throws: JSONError(.tooDeep, at: 200)) { try JSONValue(parsing: "[" + deep + "]") }
        #expect(throws: JSONError.self) { try JSONValue(parsing: String(repeating: "{\"a\":", count: 100_000)) }
    }

    @Test func `html and line separators`() {
        let text = "<a href=\"x\">&\u{2028}\u{2029}\u{7f}"
        #expect(
            JSONValue.string(text).text(escapingHTML: true) == #""\u003ca href=\"x\"\u003e\u0026\u2028\u2029"#
                + "\u{7f}\"")
        #expect(JSONValue.string(text).text() == #""<a href=\"x\">&\u2028\u2029"# + "\u{7f}\"")
    }

    @Test func `broken UTF-8 is repaired as Go does`() throws {
        #expect(try JSONValue(parsing: [0x22, 0x61, 0xff, 0x22]).string == "a\u{fffd}")
    }

    @Test func `integers are exact`() throws {
        #expect(try JSONValue(parsing: "18446744073709551615").uint64 == .max)
        #expect(try JSONValue(parsing: "-9223372036854775808").int64 == .min)
        #expect(try JSONValue(parsing: "18446744073709551616").uint64 == nil)
        #expect(try JSONValue(parsing: "1.0").int64 == nil)
        #expect(try JSONValue(parsing: #"{"a":1,"a":2}"#)["a"]?.int64 == 2)
    }

    @Test(arguments: [
        #"{"limit":"1"}"#, #"{"limit":1}"#, #"{"limit":1,"bogus":[1,{}]}"#, #"{"limit":5,"limit":1}"#,
        #"{"limit":1,"key":null}"#,
        #"{"limit":1,"sort_order":"NONE","sortTarget":0}"#, #"{"limit":1,"serializable":false,"rangeEnd":""}"#,
    ]) func `one meaning in several spellings`(text: String) throws {
        #expect(try JSONValue(parsing: text).decoded(RangeRequest.self) == RangeRequest(limit: 1))
    }

    @Test(arguments: [
        #"{"limit":1.0}"#, #"{"limit":1e3}"#, #"{"limit":"+1"}"#, #"{"limit":"01"}"#, #"{"limit":" 1"}"#,
        #"{"limit":""}"#,
        #"{"limit":9223372036854775808}"#, #"{"limit":true}"#, #"{"limit":[1]}"#, #"{"serializable":"true"}"#,
        #"{"serializable":1}"#, #"{"key":"YQ"}"#, #"{"key":"-_8="}"#, #"{"key":["YQ=="]}"#, #"{"sort_order":"ascend"}"#,
        #"{"sort_order":1.5}"#, "[]", "5", #""x""#,
    ]) func `a range request is refused`(text: String) throws {
        let value = try JSONValue(parsing: text)
        #expect(throws: JSONError.self) { try value.encoded(as: RangeRequest.descriptor) }
    }

    @Test func `a mismatch says where`() throws {
        let value = try JSONValue(parsing: #"{"success":[{},{"request_put":{"lease":"x"}}]}"#)
        let error = #expect(throws: JSONError.self) { try value.encoded(as: TxnRequest.descriptor) }
        #expect(
            error?.description == #"etcdserverpb.TxnRequest.success[1].request_put.lease: expected Int64, found "x""#)
    }

    @Test func `null is the empty message`() throws {
        #expect(try JSONValue.null.decoded(RangeRequest.self) == RangeRequest())
        #expect(
            try JSONValue(parsing: #"{"header":{}}"#).decoded(PutResponse.self) == PutResponse(header: ResponseHeader())
        )
    }

    @Test func `a oneof in both styles`() throws {
        let compares = [
            Compare(result: .notEqual, target: .lease, key: [0x61], targetUnion: .lease(0)), Compare(target: .value),
        ]
        var gateway = JSONWriter()
        gateway.message(TxnRequest(compare: compares))
        #expect(
            String(decoding: gateway.bytes, as: UTF8.self)
                == #"{"compare":[{"result":"NOT_EQUAL","target":"LEASE","key":"YQ==","lease":"0"},{"target":"VALUE"}]}"#
        )
        var go = JSONWriter()
        go.message(TxnRequest(compare: compares), style: .goStruct)
        #expect(
            String(decoding: go.bytes, as: UTF8.self)
                == #"{"compare":[{"result":3,"target":4,"key":"YQ==","TargetUnion":{}},{"target":3,"TargetUnion":null}]}"#
        )
    }

    @Test func `messages in pieces show merged`() throws {
        let first = PutResponse(header: ResponseHeader(clusterId: 1)).encoded()
        let second = PutResponse(header: ResponseHeader(revision: 2)).encoded()
        var writer = JSONWriter()
        try writer.message((first + second).rawSpan, as: PutResponse.descriptor)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #"{"header":{"cluster_id":"1","revision":"2"}}"#)
    }

    @Test func `a body in pieces is cut into values`() throws {
        let body = Array(" {\"a\":\"}\\\"{\"}[1,[2]]\n\"x\" 12 true{}7".utf8)
        for step in 1...body.count {
            var splitter = JSONSplitter()
            var buffer: Bytes = []
            var values: [String] = []
            func drain(isLast: Bool) throws {
                while let end = splitter.endOfValue(in: buffer, isLast: isLast) {
                    values.append(try JSONValue(parsing: Bytes(buffer[..<end])).text())
                    buffer.removeFirst(end)
                }
            }
            var start = 0
            while start < body.count {
                buffer += body[start..<min(start + step, body.count)]
                start += step
                try drain(isLast: false)
            }
            try drain(isLast: true)
            #expect(values == [#"{"a":"}\"{"}"#, "[1,[2]]", "\"x\"", "12", "true", "{}", "7"], "step \(step)")
        }
    }
}
