// The two dialects and the environment, by tables. Messages were taken from running etcd and etcdctl 3.5.1.

import Flags
import Testing

private let server: [Option] = [
    Option("name", default: "default"),
    Option("heartbeat-interval", .unsigned(bits: 64), default: "100"),
    Option("max-snapshots", .unsigned(bits: 64)),
    Option("quota-backend-bytes", .integer(bits: 64)),
    Option("pre-vote", .bool, default: "true"),
    Option("grpc-keepalive-interval", .duration, default: "2h"),
    Option(
        "listen-client-urls",
        check: { text in
            do throws(URLError) { _ = try URLList.parse(text); return nil } catch { return error.description }
        }),
]

@Suite struct `Server flags` {
    @Test(arguments: [
        (["-name", "a"], "name", "a"),
        (["--name=b"], "name", "b"),
        (["--name", "-x"], "name", "-x"),
        (["--name="], "name", ""),
        (["--pre-vote=false"], "pre-vote", "false"),
        (["--pre-vote=false", "--pre-vote"], "pre-vote", "true"),
        (["--heartbeat-interval=0x10"], "heartbeat-interval", "16"),
        (["--grpc-keepalive-interval", "90m"], "grpc-keepalive-interval", "1h30m0s"),
        (["--quota-backend-bytes", "-5"], "quota-backend-bytes", "-5"),
        ([], "grpc-keepalive-interval", "2h0m0s"),
    ])
    func `are read`(words: [String], name: String, shown: String) throws {
        var values = OptionValues(server)
        #expect(try GoFlags.parse(words, into: &values) == [])
        #expect(values.shown(name) == shown)
    }

    @Test(arguments: [
        (["--bogus"], "flag provided but not defined: -bogus"),
        (["-=x"], "bad flag syntax: -=x"),
        (["---x"], "bad flag syntax: ---x"),
        (["--heartbeat-interval"], "flag needs an argument: -heartbeat-interval"),
        (["--heartbeat-interval=abc"], "invalid value \"abc\" for flag -heartbeat-interval: parse error"),
        (["--heartbeat-interval=-1"], "invalid value \"-1\" for flag -heartbeat-interval: parse error"),
        (
            ["--max-snapshots=99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -max-snapshots: value out of range"
        ),
        (["--quota-backend-bytes=1.5"], "invalid value \"1.5\" for flag -quota-backend-bytes: parse error"),
        (["--pre-vote=x"], "invalid boolean value \"x\" for -pre-vote: parse error"),
        (["--grpc-keepalive-interval=5"], "invalid value \"5\" for flag -grpc-keepalive-interval: parse error"),
        (
            ["--listen-client-urls=foo"],
            "invalid value \"foo\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo"
        ),
        (["--help"], "flag: help requested"),
        (["-h"], "flag: help requested"),
    ])
    func `are refused in etcd's words`(words: [String], message: String) {
        var values = OptionValues(server)
        let failure = #expect(throws: GoFlags.Failure.self) { try GoFlags.parse(words, into: &values) }
        #expect(failure?.description == message)
    }

    @Test func `end at the first word that is none`() throws {
        var values = OptionValues(server)
        #expect(
            try GoFlags.parse(["--name", "a", "extra", "--pre-vote=false"], into: &values) == [
                "extra", "--pre-vote=false",
            ])
        #expect(values.bool("pre-vote"))
        #expect(try GoFlags.parse(["--", "--name"], into: &values) == ["--name"])
    }
}

@Suite struct Environment {
    private func apply(_ words: [String], _ lines: [String]) throws -> (OptionValues, [EnvironmentVariables.Notice]) {
        var values = OptionValues(server)
        _ = try GoFlags.parse(words, into: &values)
        let notices = try EnvironmentVariables(lines: lines)
            .apply(prefixes: ["ETCD", "COVEY"], to: &values, longReasons: false)
        return (values, notices)
    }

    @Test func `fills what the flags left open and names what it does not know`() throws {
        let (values, notices) = try apply(
            ["--name=a"], ["ETCD_PRE_VOTE=false", "ETCD_BOGUS=1", "HOME=/", "ETCD_NAME="])
        #expect(!values.bool("pre-vote"))
        #expect(values.source("pre-vote") == .environment)
        #expect(
            notices == [
                .used(name: "ETCD_PRE_VOTE", value: "false"), .unrecognized(name: "ETCD_BOGUS", value: "1"),
            ])
    }

    @Test(arguments: [
        (
            ["--name=a"], ["ETCD_NAME=a"],
            "conflicting environment variable is shadowed by corresponding command-line flag "
                + "(either unset environment variable or disable flag))"
        ),
        (
            [], ["ETCD_NAME=a", "COVEY_NAME=b"],
            "conflicting environment variable is shadowed by corresponding command-line flag "
                + "(either unset environment variable or disable flag))"
        ),
        ([], ["ETCD_HEARTBEAT_INTERVAL=abc"], "invalid value \"abc\" for ETCD_HEARTBEAT_INTERVAL: parse error"),
        (
            [], ["ETCD_LISTEN_CLIENT_URLS=foo"],
            "invalid value \"foo\" for ETCD_LISTEN_CLIENT_URLS: URL scheme must be http, https, unix, or unixs: foo"
        ),
    ])
    func `is refused in etcd's words`(words: [String], lines: [String], message: String) {
        let failure = #expect(throws: EnvironmentVariables.Failure.self) { try apply(words, lines) }
        #expect(failure?.description == message)
    }
}

private let tool = Command(
    "etcdctl", "", "A tool",
    options: [
        Option("hex", .bool), Option("write-out", default: "simple", shorthand: "w"),
        Option("endpoints", .list, default: "127.0.0.1:2379"), Option("command-timeout", .duration, default: "5s"),
    ],
    commands: [
        Command(
            "get", "<key>", "Gets", options: [Option("limit", .integer(bits: 64)), Option("rev", .integer(bits: 64))]),
        Command("put", "<key>", "Puts"), Command("del", "<key>", "Deletes"),
        Command("alarm", "", "Alarms", commands: [Command("disarm"), Command("list")]),
        Command("defrag"), Command("endpoint", commands: [Command("health"), Command("status")]),
        Command("lease", commands: [Command("list"), Command("grant")]),
        Command(
            "member",
            commands: [Command("list"), Command("add", options: [Option("peer-urls", .list, required: true)])]),
        Command("elect"), Command("auth"), Command("help"),
    ])

@Suite struct `Tool commands` {
    private func run(_ words: [String]) throws -> ParsedCommand? {
        if case .run(let parsed) = try CommandLineParser(tool, prefixMatching: true).parse(words) {
            parsed
        } else {
            nil
        }
    }

    @Test(arguments: [
        (["get", "x"], "get", ["x"]),
        (["ge", "x"], "get", ["x"]),
        (["--hex", "get", "x"], "get", ["x"]),
        (["-w", "json", "get", "x"], "get", ["x"]),
        (["-wjson", "get", "x"], "get", ["x"]),
        (["mem", "li"], "member list", []),
        (["--endpoints", "get", "put", "k"], "put", ["k"]),
        (["put", "--", "dash", "-v"], "put", ["dash", "-v"]),
        (["put", "dash2", "--", "-v2"], "put", ["dash2", "-v2"]),
        (["get", "get"], "get", ["get"]),
        (["put", "", "x"], "put", ["", "x"]),
        (["put", "-"], "put", ["-"]),
    ])
    func `are found`(words: [String], name: String, rest: [String]) throws {
        let parsed = try #require(try run(words))
        #expect(parsed.name == name)
        #expect(parsed.words == rest)
    }

    @Test func `read lists, shorthands and dashes`() throws {
        let parsed = try #require(
            try run(["get", "--endpoints=a:1,b:2", "k", "--endpoints", "c:3", "-w=json", "--", "-x"]))
        #expect(parsed.values.list("endpoints") == ["a:1", "b:2", "c:3"])
        #expect(parsed.values.text("write-out") == "json")
        #expect(parsed.wordsBeforeDashes == 1)
        #expect(parsed.words == ["k", "-x"])
    }

    @Test(arguments: [
        (["get", "--bogus", "x"], "unknown flag: --bogus"),
        (["lease", "grant", "-5"], "unknown shorthand flag: '5' in -5"),
        (["get", "-zw", "x"], "unknown shorthand flag: 'z' in -zw"),
        (
            ["get", "--limit=abc", "x"],
            "invalid argument \"abc\" for \"--limit\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax"
        ),
        (
            ["get", "--limit=99999999999999999999", "x"],
            "invalid argument \"99999999999999999999\" for \"--limit\" flag: strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        ),
        (["get", "-w"], "flag needs an argument: 'w' in -w"),
        (["get", "--rev"], "flag needs an argument: --rev"),
        (
            ["--hex=foo", "get", "x"],
            "invalid argument \"foo\" for \"--hex\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax"
        ),
        (["get", "--=x"], "bad flag syntax: --=x"),
        (
            ["--command-timeout=5", "get", "x"],
            "invalid argument \"5\" for \"--command-timeout\" flag: time: missing unit in duration \"5\""
        ),
        (
            ["--command-timeout=abc", "get", "x"],
            "invalid argument \"abc\" for \"--command-timeout\" flag: time: invalid duration \"abc\""
        ),
        (
            ["--command-timeout=5x", "get", "x"],
            "invalid argument \"5x\" for \"--command-timeout\" flag: time: unknown unit \"x\" in duration \"5x\""
        ),
        (
            ["--endpoints", "a\"b", "get", "x"],
            "invalid argument \"a\\\"b\" for \"--endpoints\" flag: parse error on line 1, column 1: bare \" in non-quoted-field"
        ),
        (["lis"], "unknown command \"lis\" for \"etcdctl\""),
        (["putt"], "unknown command \"putt\" for \"etcdctl\"\n\nDid you mean this?\n\tput\n\tauth\n"),
        (["e"], "unknown command \"e\" for \"etcdctl\"\n\nDid you mean this?\n\tget\n\tdel\n\tendpoint\n\telect\n"),
        (["member", "add", "x"], "required flag(s) \"peer-urls\" not set"),
    ])
    func `are refused in etcdctl's words`(words: [String], message: String) {
        let failure = #expect(throws: CommandLineFailure.self) { try run(words) }
        #expect(failure?.description == message)
    }

    @Test(arguments: [[], ["alarm"], ["alarm", "bogus"], ["help", "alarm"], ["get", "--help"], ["-h"]])
    func `show help`(words: [String]) throws {
        #expect(try run(words) == nil)
    }
}
