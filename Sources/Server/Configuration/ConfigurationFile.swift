// --config-file: YAML or JSON. Values go where flags go, but types are strict: a number is a number, a duration is an
// integer of nanoseconds, some lists are lists. Unknown keys are ignored, as etcd ignores them; that they were is told.

import Flags
import YAML

struct ConfigurationFile {
    /// Keys at the top that hold a map, and the flags that the map's keys stand for.
    private static let sections: [String: [String: String]] = [
        "client-transport-security": [
            "cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file",
            "client-key-file": "client-key-file", "client-cert-auth": "client-cert-auth",
            "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
            "allowed-hostname": "client-cert-allowed-hostname", "client-crl-file": "client-crl-file",
        ],
        "peer-transport-security": [
            "cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
            "client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
            "trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls",
            "allowed-cn": "peer-cert-allowed-cn",
            "allowed-hostname": "peer-cert-allowed-hostname", "crl-file": "peer-crl-file",
            "skip-client-san-verification": "peer-skip-client-san-verification",
        ],
        "socket-options": ["reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address"],
    ]

    private static let discoveryClient: [[String]: String] = [
        ["token"]: "discovery-token", ["client", "dial-timeout"]: "discovery-dial-timeout",
        ["client", "endpoints"]: "discovery-endpoints",
        ["client", "request-timeout"]: "discovery-request-timeout",
        ["client", "keepalive-time"]: "discovery-keepalive-time",
        ["client", "keepalive-timeout"]: "discovery-keepalive-timeout",
        ["client", "secure", "cert"]: "discovery-cert", ["client", "secure", "key"]: "discovery-key",
        ["client", "secure", "cacert"]: "discovery-cacert",
        ["client", "secure", "insecure-transport"]: "discovery-insecure-transport",
        ["client", "secure", "insecure-skip-tls-verify"]: "discovery-insecure-skip-tls-verify",
        ["client", "auth", "username"]: "discovery-user", ["client", "auth", "password"]: "discovery-password",
    ]

    /// Flags whose values a file gives as a list.
    private static let lists: Set<String> = ["cipher-suites", "log-outputs", "discovery-endpoints"]
    private static let urlLists: Set<String> = [
        "listen-peer-urls", "listen-client-urls", "listen-client-http-urls", "listen-metrics-urls",
        "initial-advertise-peer-urls", "advertise-client-urls",
    ]
    private static let otherNames = ["experimental-snapshot-catch-up-entries": "experimental-snapshot-catchup-entries"]

    private var values = OptionValues(ServerOptions.all)
    private(set) var unknownKeys: [String] = []

    enum Failure: Error {
        case logged(String)
        case plain(String)
    }

    static func load(_ bytes: [UInt8]) throws(Failure) -> (values: OptionValues, unknownKeys: [String]) {
        let root: YAMLNode?
        do throws(YAMLError) { root = try YAMLNode.parse(bytes) } catch {
            throw .logged("error converting YAML to JSON: \(error)")
        }
        var file = ConfigurationFile()
        if let root, root.scalar != .null { try file.read(root) }
        return (file.values, file.unknownKeys)
    }

    private mutating func read(_ root: YAMLNode) throws(Failure) {
        guard case .mapping(let entries) = root.content else {
            throw .logged(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal \(ConfigurationFile.typeName(root)) "
                    + "into Go value of type embed.configYAML")
        }
        for (key, node) in entries {
            guard case .scalar(let name, _) = key.content else { continue }
            if let section = ConfigurationFile.sections[name] {
                try readSection(name, node, section)
            } else if name == "discovery-config" {
                try readDiscovery(node, [])
            } else if let option = values.option(ConfigurationFile.otherNames[name] ?? name), name != "config-file" {
                try set(option, node, field: "configYAML." + name)
            } else {
                unknownKeys.append("\(name) (line \(key.line))")
            }
        }
    }

    private mutating func readSection(_ name: String, _ node: YAMLNode, _ keys: [String: String]) throws(Failure) {
        guard case .mapping(let entries) = node.content else {
            if node.scalar == .null { return }
            throw mismatch(
                node, field: "configYAML." + name,
                type: name == "socket-options" ? "transport.SocketOpts" : "embed.securityConfig")
        }
        for (key, value) in entries {
            guard case .scalar(let text, _) = key.content else { continue }
            guard let flag = keys[text], let option = values.option(flag) else {
                unknownKeys.append("\(name).\(text) (line \(key.line))")
                continue
            }
            try set(option, value, field: "securityConfig.\(name).\(text)", listAllowed: true)
        }
    }

    private mutating func readDiscovery(_ node: YAMLNode, _ path: [String]) throws(Failure) {
        guard case .mapping(let entries) = node.content else { return }
        for (key, value) in entries {
            guard case .scalar(let text, _) = key.content else { continue }
            let here = path + [text]
            if let flag = ConfigurationFile.discoveryClient[here], let option = values.option(flag) {
                try set(option, value, field: "configYAML.discovery-config." + here.joined(separator: "."))
            } else if case .mapping = value.content {
                try readDiscovery(value, here)
            } else {
                unknownKeys.append("discovery-config.\(here.joined(separator: ".")) (line \(key.line))")
            }
        }
    }

    // MARK: Types

    private mutating func set(
        _ option: Option, _ node: YAMLNode, field: String, listAllowed: Bool = false
    ) throws(Failure) {
        if node.scalar == .null { return }
        let isList = ConfigurationFile.lists.contains(option.name)
        if case .sequence(let items) = node.content, isList || listAllowed {
            var texts: [String] = []
            for item in items {
                guard case .text(let text)? = item.scalar else { throw mismatch(item, field: field, type: "string") }
                texts.append(text)
            }
            return try store(option, texts.joined(separator: ","), field)
        }
        if isList { throw mismatch(node, field: field, type: "[]string") }
        guard let scalar = node.scalar else { throw mismatch(node, field: field, type: goType(option)) }
        switch (option.kind, scalar) {
        case (.text, .text(let text)), (.list, .text(let text)): try store(option, text, field)
        case (.bool, .bool(let value)): values.set(option.name, .bool(value), from: .file)
        case (.integer, .number(let text)), (.unsigned, .number(let text)):
            do throws(ValueError) { try values.set(option, text, from: .file) } catch {
                throw mismatch(node, field: field, type: goType(option), number: text)
            }
        case (.duration, .number(let text)):
            guard let nanoseconds = Int64(text) else {
                throw mismatch(node, field: field, type: goType(option), number: text)
            }
            values.set(option.name, .duration(nanoseconds), from: .file)
        default: throw mismatch(node, field: field, type: goType(option))
        }
    }

    private mutating func store(_ option: Option, _ text: String, _ field: String) throws(Failure) {
        do throws(ValueError) { try values.set(option, text, from: .file) } catch {
            if ConfigurationFile.urlLists.contains(option.name) {
                throw .plain("unexpected error setting up \(option.name): \(error.short)")
            }
            if option.name == "initial-cluster-state" {
                throw .logged("unexpected clusterState \(GoText.quote(text))")
            }
            if option.name == "discovery-fallback" {
                throw .plain("unexpected error setting up discovery-fallback flag: \(error.short)")
            }
            throw .logged("invalid value \(GoText.quote(text)) for \(option.name): \(error.short)")
        }
    }

    private func goType(_ option: Option) -> String {
        switch option.kind {
        case .bool: "bool"
        case .text, .list: "string"
        case .duration: "time.Duration"
        case .float: "float64"
        case .integer: option.name == "quota-backend-bytes" ? "int64" : "int"
        case .unsigned(let bits):
            bits == 32
                ? "uint32"
                : option.name.hasSuffix("snapshot-count") || option.name.contains("catchup") ? "uint64" : "uint"
        }
    }

    private func mismatch(_ node: YAMLNode, field: String, type: String, number: String? = nil) -> Failure {
        let found = number.map { "number \($0)" } ?? ConfigurationFile.typeName(node)
        return .logged(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal \(found) into Go struct field "
                + "\(field) of type \(type)")
    }

    private static func typeName(_ node: YAMLNode) -> String {
        switch node.content {
        case .sequence: "array"
        case .mapping: "object"
        case .scalar:
            switch node.scalar {
            case .bool: "bool"
            case .number: "number"
            case .null, nil: "null"
            case .text: "string"
            }
        }
    }
}
