// `covey enroll HOST`: the agent of a host gets its identity. The way to the host is ssh, which has checked the host's key
// and the operator's by then; `--through` names another command
// that runs words on the host.
//
// Twice `covey agent join` is run there: the first makes a key and answers with a request, the second takes the certificate.
// Names and addresses in it are the inventory's.

import Foundations
import Inventory
import JSON
import Linux
import PKI

struct EnrollCommand {
    let file: InventoryFile
    let folder: StateFolder
    let hosts: [String]
    /// Words before `covey agent join`; empty: ssh to root at the host's address.
    let through: String
    /// How to serve hosts that join by a token; nil: over ssh.
    var token: Token?

    struct Token {
        var listen: String
        var advertise: String
        var seconds: Int64
    }

    func run() -> Int32 {
        let events = EventLines(nameWidth: file.inventory.hosts.map(\.name.count).max() ?? 0)
        do {
            let authorities = try FleetAuthorities(folder, file.inventory)
            for event in authorities.events { events.tell(event) }
            let names = hosts.isEmpty ? file.inventory.hosts.map(\.name) : hosts
            if let unknown = names.first(where: { name in !file.inventory.hosts.contains { $0.name == name } }) {
                Output.error("covey enroll: \(unknown) is no host of \(file.path)\n")
                return 2
            }
            if let token {
                return try EnrolmentServer.run(
                    authorities, file.inventory.hosts.filter { names.contains($0.name) }, listen: token.listen,
                    advertise: token.advertise, seconds: token.seconds, events)
            }
            for host in file.inventory.hosts where names.contains(host.name) {
                try enroll(host, authorities)
                events.tell(host.name, "enrolled: agent on \(host.address) port \(HostRecord.defaultPort)")
            }
            return 0
        } catch {
            Output.error("covey enroll: \(error)\n")
            return 1
        }
    }

    private func enroll(_ host: Inventory.Host, _ authorities: FleetAuthorities) throws {
        let record = HostRecord(name: host.name, address: host.address, port: HostRecord.defaultPort)
        let answer = try ask(host, "request", record.json)
        guard let pem = answer["request"]?.string else {
            throw FleetFailure(text: "\(host.name) did not answer with a request")
        }
        let leaf = try authorities.issueAgent(host, Array(pem.utf8))
        let authority = authorities.agents.certificate
        _ = try ask(
            host, "install",
            .object([
                .init("certificate", .string(String(decoding: leaf.pem, as: UTF8.self))),
                .init("authority", .string(String(decoding: authority.pem, as: UTF8.self))),
                .init("pin", .string(Hexadecimal.encode(authority.fingerprint))),
            ]))
    }

    private func ask(_ host: Inventory.Host, _ phase: String, _ input: JSONValue) throws -> JSONValue {
        let prefix: [String] =
            through.isEmpty
            ? ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "root@\(host.address)"]
            : through.split(separator: " ").map { Self.named(String($0), host.name) }
        let words = prefix + ["covey", "agent", "join", phase]
        let result = try PipedProcess.run(words, input: Array(input.text().utf8))
        guard result.outcome == .exited(0) else {
            throw FleetFailure(text: "\(words.joined(separator: " ")): \(result.outcome); what it said is above")
        }
        return try JSONValue(parsing: result.output)
    }

    /// `root@HOST.lab` -> `root@kv1.lab`
    private static func named(_ word: String, _ name: String) -> String {
        var out = ""
        var rest = Array(word)[...]
        while let first = rest.first {
            if rest.starts(with: Array("HOST")) {
                out += name
                rest = rest.dropFirst(4)
            } else {
                out.append(first)
                rest = rest.dropFirst()
            }
        }
        return out
    }
}
