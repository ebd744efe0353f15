// Numbers, durations, quoted text, sizes, URLs and the layouts of help.

import Flags
import Testing

@Suite struct `Go text` {
    @Test(
        arguments: [
            ("300ms", 300_000_000), ("1h30m", 5_400_000_000_000), ("1.5s", 1_500_000_000), ("-2us", -2000), ("0", 0),
            ("1\u{b5}s", 1000), (".5s", 500_000_000), ("2562047h47m16.854775807s", Int64.max),
        ] as [(String, Int64)])
    func `durations are read`(text: String, nanoseconds: Int64) throws {
        #expect(try GoDuration.parse(text) == nanoseconds)
    }

    @Test(arguments: [
        ("", "time: invalid duration \"\""), ("5", "time: missing unit in duration \"5\""),
        (".s", "time: invalid duration \".s\""),
        ("3x", "time: unknown unit \"x\" in duration \"3x\""),
        ("9999999999999h", "time: invalid duration \"9999999999999h\""),
    ])
    func `bad durations are named`(text: String, message: String) {
        let failure = #expect(throws: GoDuration.ParseError.self) { try GoDuration.parse(text) }
        #expect(failure?.description == message)
    }

    @Test(
        arguments: [
            (0, "0s"), (1, "1ns"), (1500, "1.5\u{b5}s"), (4_540_929, "4.540929ms"), (5_000_000_000, "5s"),
            (7_200_000_000_000, "2h0m0s"), (60_000_000_000, "1m0s"), (-1_500_000_000, "-1.5s"), (900_000_000, "900ms"),
        ] as [(Int64, String)])
    func `durations are written`(nanoseconds: Int64, text: String) {
        #expect(GoDuration.format(nanoseconds) == text)
    }

    @Test(
        arguments: [
            ([0x61, 0x22, 0x5c, 0x0a], "\"a\\\"\\\\\\n\""), ([0xff, 0x41], "\"\\xffA\""), ([0], "\"\\x00\""),
            ([0x7f], "\"\\x7f\""),
            (Array("héllo".utf8), "\"héllo\""), ([0xe2, 0x80, 0xa8], "\"\\u2028\""), (Array("😀".utf8), "\"😀\""),
            ([0xc0, 0x80], "\"\\xc0\\x80\""),
            (Array("\u{a0}".utf8), "\"\\u00a0\""),
        ] as [([UInt8], String)])
    func `bytes are quoted`(bytes: [UInt8], text: String) {
        #expect(GoText.quote(bytes) == text)
    }

    @Test(
        arguments: [
            (5, "5 B"), (999, "999 B"), (1000, "1.0 kB"), (20480, "20 kB"), (1_234_567, "1.2 MB"),
            (16_384_000, "16 MB"), (9_960, "10 kB"),
        ] as [(UInt64, String)])
    func `sizes are rounded`(bytes: UInt64, text: String) {
        #expect(ByteSize.format(bytes) == text)
    }
}

@Suite struct URLs {
    @Test(arguments: [
        ("http://a:1", "http://a:1"), ("http://b:2,http://a:1", "http://a:1,http://b:2"),
        (" http://a:1 ", "http://a:1"),
        ("unix://sock", "unix://sock"), ("unixs://a/b", "unixs://a/b"), ("https://[::1]:2379", "https://[::1]:2379"),
        ("http://:2380", "http://:2380"),
    ])
    func `are read and sorted`(text: String, canonical: String) throws {
        #expect(try URLList.parse(text).map(\.description).joined(separator: ",") == canonical)
    }

    @Test(arguments: [
        ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
        ("127.0.0.1:2379", "parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon"),
        ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1"),
        ("http://a:1/x", "URL must not contain a path: http://a:1/x"),
        ("http://[::1:2", "parse \"http://[::1:2\": missing ']' in host"),
        ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
        ("http://a:1,,http://b:2", "URL scheme must be http, https, unix, or unixs: "),
        ("http://a:b", "parse \"http://a:b\": invalid port \":b\" after host"),
        (":x", "parse \":x\": missing protocol scheme"),
    ])
    func `are refused in etcd's words`(text: String, message: String) {
        let failure = #expect(throws: URLError.self) { try URLList.parse(text) }
        #expect(failure?.description == message)
    }

    @Test func `of a cluster are grouped by name and written sorted`() throws {
        let cluster = try InitialCluster.parse("m2=http://b:2,m1=http://a:2,,m1=http://a:1")
        #expect(cluster.description == "m1=http://a:1,m1=http://a:2,m2=http://b:2")
        #expect(cluster.urls(of: "m1")?.count == 2)
        #expect(cluster.urlsAreUnique)
        #expect(try !InitialCluster.parse("a=http://x:1,b=http://x:1").urlsAreUnique)
        #expect(throws: URLError.self) { try InitialCluster.parse("m1") }
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("::1", true), ("fe80::1%eth0", true), ("1.2.3", false), ("a.b", false),
        ("1:2:3:4:5:6:7:8", true),
        ("1:2:3:4:5:6:7:8:9", false), ("::ffff:1.2.3.4", true), ("", false), ("256.1.1.1", false), (":::", false),
        ("localhost", false),
    ])
    func `know addresses from names`(text: String, isAddress: Bool) {
        #expect(HostPort.isIPAddress(text) == isAddress)
    }
}

@Suite struct Help {
    static let tool = Command(
        "etcdctl", "", "A tool",
        options: [
            Option("write-out", default: "simple", shorthand: "w", "the format", choices: ["json", "simple"]),
            Option("debug", .bool, "talk"),
        ],
        commands: [
            Command(
                "lock", "<lockname>", "Acquires",
                options: [Option("ttl", .integer(bits: 64), default: "10", "timeout for session")]),
            Command(
                "alarm", "", "Alarm related commands",
                commands: [
                    Command("list", "", "Lists all alarms"), Command("disarm", "", "Disarms all alarms"),
                ]),
        ])

    @Test func `in etcdctl's layout`() throws {
        let usage = GroupedUsage(root: Help.tool, version: "3.5.1", apiVersion: "3.5")
        let lock = try #require(Help.tool.find(["lock"]))
        #expect(
            usage.text(["lock"], lock) == """
                NAME:
                \tlock - Acquires

                USAGE:
                \tetcdctl lock <lockname> [flags]

                OPTIONS:
                  -h, --help[=false]\thelp for lock
                      --ttl=10\t\ttimeout for session

                GLOBAL OPTIONS:
                      --debug[=false]\t\ttalk
                  -w, --write-out="simple"\tthe format


                """)
        let alarm = try #require(Help.tool.find(["alarm"]))
        #expect(
            usage.text(["alarm"], alarm).hasPrefix(
                """
                NAME:
                \talarm - Alarm related commands

                USAGE:
                \tetcdctl alarm <subcommand> [flags]

                API VERSION:
                \t3.5


                COMMANDS:
                \tdisarm\tDisarms all alarms
                \tlist\tLists all alarms

                OPTIONS:
                """))
    }

    @Test func `in the common layout`() throws {
        let alarm = try #require(Help.tool.find(["alarm"]))
        #expect(
            PlainUsage(root: Help.tool).text(["alarm"], alarm) == """
                Usage:
                  etcdctl alarm [command]

                Available Commands:
                  disarm      Disarms all alarms
                  list        Lists all alarms

                Flags:
                  -h, --help   help for alarm

                Global Flags:
                      --debug              talk
                  -w, --write-out string   the format (default "simple")

                Use "etcdctl alarm [command] --help" for more information about a command.

                """)
    }

    @Test func `as a manual page escapes dashes and leading dots`() {
        let page = ManPage(
            program: "etcdctl", summary: "a tool", description: ".hidden\n\nend", environmentPrefix: "ETCDCTL"
        )
        .text(Help.tool)
        #expect(page.contains(".TH \"ETCDCTL\" 1\n"))
        #expect(page.contains("\\&.hidden\n.PP\nend\n"))
        #expect(page.contains("\\fB\\-w\\fR, \\fB\\-\\-write\\-out\\fR=\\fIsimple\\fR\n"))
        #expect(page.contains(".SS \"etcdctl alarm disarm\"\n"))
    }

    @Test(arguments: Shell.allCases)
    func `as completion knows commands and flags`(shell: Shell) {
        let script = Completion(root: Help.tool).script(for: shell)
        for word in ["alarm", "disarm", "lock", "ttl", "write-out", "json simple"] { #expect(script.contains(word)) }
    }
}
