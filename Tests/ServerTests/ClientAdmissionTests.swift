import Glibc
import PKI
import TestSupport
import Testing

@testable import Server

/// Who gets to the port for clients while a cluster is being made.
@Suite struct ClientAdmissionTests {
    private let folder = temporaryFolder("admission")
    private var file: String { folder + "/admitted" }

    @Test func `without a file that is asked for everybody gets in`() {
        #expect(ClientAdmission("").isOpen)
        #expect(ClientAdmission("").admits(nil, from: "10.0.0.9"))
    }

    @Test func `those it names and this host, until it is gone, and then for good`() throws {
        try KeyFile.write(Array("root\ncovey-health\n".utf8), to: file, mode: 0o644)
        let admission = ClientAdmission(file)
        for (name, remote, gets) in [
            ("root", "10.0.0.9", true), ("covey-health", "10.0.0.9", true), ("kube-apiserver-etcd-client", "10.0.0.9", false),
            ("roo", "10.0.0.9", false), ("", "10.0.0.9", false), (nil, "10.0.0.9", false), (nil, "127.0.0.1", true), (nil, "::1", true),
        ] as [(String?, String, Bool)] {
            #expect(admission.admits(name, from: remote) == gets, "\(name ?? "nobody") from \(remote)")
        }
        #expect(!admission.isOpen)
        try KeyFile.write([], to: file, mode: 0o644)
        #expect(!admission.admits("root", from: "10.0.0.9"), "nobody is named")
        unlink(file)
        #expect(admission.admits("kube-apiserver-etcd-client", from: "10.0.0.9") && admission.isOpen)
        try KeyFile.write([], to: file, mode: 0o644)
        #expect(admission.admits(nil, from: "10.0.0.9"), "it is not closed again")
    }

    @Test func `a file that cannot be read keeps others out`() throws {
        try KeyFile.makeFolder(file)
        #expect(!ClientAdmission(file).admits("root", from: "10.0.0.9"))
    }
}
