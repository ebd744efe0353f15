// swift-tools-version: 6.2
// One helper per ring sets the path, the flags and, by convention, what a target may import.
// Ring purity (Core imports no C, no socket, no clock) is checked by Tests/TidyTests.
import PackageDescription

let everywhere: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
]

/// Tests and their tools: memory safety is not marked expression by expression there.
let forTests: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .treatAllWarnings(as: .error), .enableExperimentalFeature("Lifetimes"),
]

/// Pure values: input in, actions out. May depend on Core only.
func core(_ name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/Core/\(name)", exclude: exclude, swiftSettings: everywhere)
}

/// Performs actions: sockets, files, libraries. The only ring with C and unsafe code.
func system(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/System/\(name)", swiftSettings: everywhere)
}

/// Wiring and programs.
func outer(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(path)", swiftSettings: everywhere)
}

func program(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: "Sources/\(path)", swiftSettings: everywhere)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], data: Bool = false, exclude: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)",
        exclude: (data ? ["Data"] : []) + exclude,
        swiftSettings: forTests)
}

/// A C library of the machine, found by pkg-config; its module map and small inline shims live in Sources/C.
func library(_ name: String, _ pkgConfig: String, _ package: String) -> Target {
    .systemLibrary(name: name, path: "Sources/C/\(name)", pkgConfig: pkgConfig, providers: [.apt([package])])
}

let package = Package(
    name: "covey",
    products: [
        .executable(name: "covey", targets: ["covey"]),
        .library(name: "CoveyClient", targets: ["CoveyClient"]),
    ],
    targets: [
        // C
        .target(name: "CLinux", path: "Sources/C/CLinux"),
        library("COpenSSL", "openssl", "libssl-dev"),
        library("CNghttp2", "libnghttp2", "libnghttp2-dev"),
        library("CLMDB", "lmdb", "liblmdb-dev"),
        library("CSystemd", "libsystemd", "libsystemd-dev"),
        library("CYAML", "yaml-0.1", "libyaml-dev"),
        library("CCrypt", "libcrypt", "libcrypt-dev"),

        // Core
        core("Foundations"),
        core("Wire", ["Foundations"], exclude: ["Protos"]),
        core("JSON", ["Foundations", "Wire"]),
        core("HTTP1", ["Foundations"]),
        core("GRPC", ["Foundations"]),
        core("Raft", ["Foundations"]),
        core("PeerWire", ["Foundations", "Wire", "Raft"]),
        core("MVCC", ["Foundations", "Wire"]),
        core("State", ["Foundations", "Wire", "JSON", "GRPC", "MVCC"]),
        core("FileFormats", ["Foundations", "Wire"]),
        core("Flags", ["Foundations"]),
        core("Inventory", ["Foundations", "Flags", "JSON", "FileFormats"]),
        core("Rendering", ["Foundations", "Flags", "JSON", "Inventory"]),

        // System
        system("Linux", ["Foundations", "CLinux"]),
        system("Telemetry", ["Foundations", "JSON", "Linux"]),
        system("TLSEngine", ["Foundations", "Linux", "CLinux", "PKI", "COpenSSL"]),
        system("HTTP2Engine", ["Foundations", "GRPC", "CNghttp2"]),
        system(
            "Connections",
            [
                "Foundations", "GRPC", "HTTP1", "Linux", "CLinux", "Telemetry", "TLSEngine", "HTTP2Engine",
            ]),
        system("LMDBStore", ["Foundations", "MVCC", "FileFormats", "Linux", "CLMDB", "CLinux"]),
        system("DiskLog", ["Foundations", "FileFormats", "Linux"]),
        system("Passwords", ["Foundations", "State", "CCrypt"]),
        system("PKI", ["Foundations", "JSON", "Linux", "CLinux", "COpenSSL"]),
        system("CleanExit", ["COpenSSL"]),
        system("YAML", ["Foundations", "CYAML"]),
        system("Systemd", ["Foundations", "Linux", "CSystemd"]),

        // Outer rings
        outer(
            "Server", "Server",
            [
                "Foundations", "Wire", "JSON", "HTTP1", "GRPC", "Raft", "PeerWire", "MVCC", "State", "FileFormats", "Flags",
                "Linux", "Telemetry", "TLSEngine", "Connections", "LMDBStore", "DiskLog", "Passwords", "PKI", "Systemd", "YAML",
                "CoveyClient",
            ]),
        outer(
            "CoveyClient", "Client",
            [
                "Foundations", "Wire", "GRPC", "Linux", "Telemetry", "TLSEngine", "HTTP2Engine", "Connections",
            ]),
        outer(
            "Control", "Control",
            [
                "Foundations", "Wire", "JSON", "HTTP1", "GRPC", "Flags", "FileFormats", "Linux", "CLinux", "Telemetry",
                "TLSEngine", "LMDBStore", "DiskLog", "MVCC", "State", "CoveyClient", "Passwords",
            ]),
        outer(
            "Operations", "Operations",
            [
                "Foundations", "Flags", "JSON", "HTTP1", "GRPC", "Wire", "Inventory", "Rendering", "Linux", "CLinux", "YAML", "PKI",
                "TLSEngine", "Connections", "CoveyClient", "Systemd", "Telemetry",
            ]),
        program(
            "covey", "Programs/covey",
            ["Operations", "Foundations", "Flags", "Server", "Control", "CoveyClient", "Telemetry", "Linux", "CleanExit"]),

        // Testing
        .target(
            name: "TestSupport", dependencies: ["Foundations", "Linux"], path: "Sources/Testing/TestSupport",
            swiftSettings: forTests),
        program("protogen", "Testing/protogen", ["Foundations"]),
        program(
            "covey-bench", "Testing/bench",
            [
                "Foundations", "Wire", "GRPC", "MVCC", "State", "Linux", "Connections", "TLSEngine", "TestSupport", "CoveyClient",
                "FileFormats", "DiskLog", "LMDBStore",
            ]),
        program("covey-crash", "Testing/crash", ["Foundations", "MVCC", "FileFormats", "Linux", "DiskLog", "LMDBStore"]),
        program("covey-sim", "Testing/sim", ["Foundations", "Raft", "TestSupport"]),

        tests("FoundationsTests", ["Foundations"]),
        tests("WireTests", ["Wire", "JSON", "GRPC", "Foundations", "TestSupport"], data: true),
        tests("RaftTests", ["Raft", "Foundations", "TestSupport"], data: true),
        tests("PeerWireTests", ["PeerWire", "Raft", "Wire", "Foundations"], data: true),
        tests("MVCCTests", ["MVCC", "Wire", "Foundations"], data: true),
        tests("StateTests", ["State", "Passwords", "MVCC", "Wire", "GRPC", "JSON", "Foundations"], data: true),
        tests("FileFormatsTests", ["FileFormats", "Wire", "Foundations"], data: true),
        tests("FlagsTests", ["Flags", "Foundations"]),
        tests(
            "StorageTests", ["covey-crash", "LMDBStore", "DiskLog", "MVCC", "FileFormats", "Wire", "Linux", "Foundations", "TestSupport"]),
        tests("ConfigurationTests", ["Server", "Flags", "Telemetry", "TestSupport"]),
        tests(
            "NetworkTests",
            [
                "Linux", "TLSEngine", "HTTP2Engine", "CNghttp2", "HTTP1", "Connections", "PKI", "GRPC", "Foundations", "TestSupport",
                "Telemetry",
            ], data: true),
        tests(
            "ClientTests",
            [
                "CoveyClient", "Connections", "Foundations", "TestSupport", "Wire", "GRPC", "Linux", "PKI", "TLSEngine",
            ]),
        tests(
            "ServerTests", ["Server", "CoveyClient", "Wire", "JSON", "State", "MVCC", "Foundations", "TestSupport"], data: true,
            exclude: ["Replay"]
        ),
        tests(
            "PeerTests",
            [
                "Server", "PeerWire", "Raft", "State", "FileFormats", "MVCC", "LMDBStore", "Connections", "HTTP1", "Linux", "TLSEngine",
                "PKI", "Telemetry", "Foundations", "TestSupport",
            ], data: true),
        tests(
            "ControlTests",
            ["covey", "Control", "Flags", "Wire", "FileFormats", "JSON", "Linux", "CoveyClient", "Foundations", "TestSupport"],
            data: true, exclude: ["Replay"]),
        tests(
            "OperationsTests",
            [
                "covey", "Operations", "Inventory", "Rendering", "Telemetry", "Server", "Flags", "GRPC", "JSON", "PKI", "Wire",
                "Linux", "Foundations", "TestSupport",
            ], data: true),
        tests("ClusterTests", ["covey", "TestSupport"], exclude: ["Replay"]),
        tests("TelemetryTests", ["Telemetry", "Systemd", "JSON", "Foundations"]),
        tests("TidyTests", ["Foundations"]),
    ]
)
