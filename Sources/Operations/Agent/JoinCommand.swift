// How a host gets its agent's identity. `covey enroll`, on the operator's machine, runs this twice over ssh: first to have
// a key made and to get the request to certify it, then to hand over the certificate. The key never leaves the host. What
// comes in is on standard input, never on a command line that others can see. Typed on the host with a token it is TokenJoin.

import Foundations
import Glibc
import JSON
import Linux
import PKI
import Systemd

struct JoinCommand {
    let folders: AgentFolders

    struct Refused: Error, CustomStringConvertible { var description: String }

    func run(_ phase: String) -> Int32 {
        do {
            let input = try JSONValue(parsing: Self.standardInput())
            switch phase {
            case "request": Output.data(try request(input).text() + "\n")
            case "install": Output.data(try install(input).text() + "\n")
            default: throw Refused(description: "`covey agent join` is what `covey enroll` calls: request or install")
            }
            return 0
        } catch {
            Output.error("covey agent join: \(error)\n")
            return 3
        }
    }

    private var pendingKey: String { folders.pendingKey }
    private var pendingHost: String { folders.identity + "/host.json.pending" }

    private func request(_ input: JSONValue) throws -> JSONValue {
        guard let host = HostRecord(input) else { throw Refused(description: "no host was named") }
        let pem = try prepare(host.name)
        try notePending(host)
        return .object([.init("request", .string(pem))])
    }

    func notePending(_ host: HostRecord) throws(PKIError) {
        try KeyFile.write(Array(host.json.text().utf8), to: pendingHost, mode: 0o644)
    }

    /// Makes a key; the request to certify it, in PEM form.
    func prepare(_ name: String) throws -> String {
        guard isPlainName(name) else { throw Refused(description: "\"\(name)\" is no name of a host") }
        if let bytes = try? KeyFile.read(folders.hostFile).bytes, let json = try? JSONValue(parsing: bytes),
            let old = HostRecord(json), old.name != name
        {
            throw Refused(description: "this host is \(old.name) already, not \(name)")
        }
        try KeyFile.makeFolder(folders.identity, mode: 0o755)
        guard unsafe chmod(folders.identity, 0o700) == 0 else { throw SystemError("chmod", folders.identity) }
        let key = try PrivateKey.generate()
        try KeyFile.write(key.pem, to: pendingKey, mode: 0o600)
        let csr = try SigningRequest.create(key: key, commonName: "agent:\(name)")
        return String(decoding: csr.pem, as: UTF8.self)
    }

    private func install(_ input: JSONValue) throws -> JSONValue {
        guard let certificate = input["certificate"]?.string, let authority = input["authority"]?.string,
            let pin = input["pin"]?.string
        else { throw Refused(description: "no certificate was sent") }
        let isStarted = try take(certificate: Array(certificate.utf8), authority: Array(authority.utf8), pin: pin)
        return .object([.init("started", .string(isStarted ? "systemd" : "no"))])
    }

    /// True when the agent was started with it.
    func take(certificate: [UInt8], authority: [UInt8], pin: String) throws -> Bool {
        let ca = try Certificate.chain(pem: authority, source: "authority")
        guard AuthorityPin.matches(pin, ca[0]) else {
            throw Refused(description: "the authority is not the one that was meant (\(pin.prefix(16)))")
        }
        let leaf = try Certificate.chain(pem: certificate, source: "certificate")[0]
        guard leaf.belongs(to: try PrivateKey.load(pendingKey)) else {
            throw Refused(description: "the certificate is not for the key made here")
        }
        try KeyFile.write(authority, to: folders.authority, mode: 0o644)
        try KeyFile.write(certificate, to: folders.certificate, mode: 0o644)
        for (from, to) in [(pendingKey, folders.key), (pendingHost, folders.hostFile)] {
            guard unsafe rename(from, to) == 0 else { throw SystemError("rename", from) }
        }
        Folder.sync(of: folders.key)
        guard SystemBus.isPresent && folders.root.isEmpty else { return false }
        let bus = try SystemBus()
        try bus.enable("covey-agent.service")
        try bus.reload()
        try bus.restart("covey-agent.service")
        return true
    }

    static func standardInput() throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while bytes.count < 1 << 20 {
            let count = unsafe read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw SystemError("read", "standard input") }
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return bytes
    }
}
