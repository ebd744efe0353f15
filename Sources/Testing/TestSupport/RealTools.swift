// Where the tests find other people's programs: real etcd servers and clients, Python clients. `make deps` puts them in
// `.deps/` at the top of the checkout or installs them with apt. A test that needs one which is absent is skipped and
// says so; in CI (CI=true) an absent tool is a failure, see `RealTools.required`.

import Glibc

package enum RealTools {
    /// The top folder of the checkout.
    package static let root: String = {
        let parts = #filePath.split(separator: "/")
        return "/" + parts.dropLast(4).joined(separator: "/")
    }()

    /// The program under test: the one that `make test` names, which is the one that ships, else the debug build.
    package static let covey: String = environment("TEST_PROGRAM") ?? built("covey")

    /// A program of this package: it lies beside the tests, under a sanitizer too.
    package static func built(_ name: String) -> String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink("/proc/self/exe", &path, path.count - 1)
        let own = String(decoding: path[..<max(0, count)].map(UInt8.init(bitPattern:)), as: UTF8.self)
        // Under `swift test` the process may be the toolchain's helper.
        let beside = "/" + own.split(separator: "/").dropLast().joined(separator: "/") + "/" + name
        return existing(beside) ?? root + "/.build/debug/" + name
    }

    package static var inCI: Bool { environment("CI") == "true" }

    /// Python with grpcio and protobuf.
    package static var python: String? { existing(root + "/.deps/venv/bin/python") }

    /// Folder with 3.5.1's etcd, etcdctl and etcdutl.
    package static var etcd35: String? { existing(root + "/.deps/etcd-3.5.1") }

    /// Debian's 3.4.23.
    package static var etcd34Server: String? { existing("/usr/bin/etcd") }
    package static var etcd34Control: String? { existing("/usr/bin/etcdctl") }

    package static var h2load: String? { existing("/usr/bin/h2load") }
    package static var curl: String? { existing("/usr/bin/curl") }

    /// For `.enabled(if:)`: true when the tool is there, and in CI always, so that a missing tool fails there.
    package static func required(_ tool: String?) -> Bool { tool != nil || inCI }

    /// For tests of random operations: the same in every run, so that what fails is what changed. `make soak` takes new ones.
    package static var seed: String { environment("TEST_SEED") ?? "20261" }

    package static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        return String(cString: value)
    }

    private static func existing(_ path: String) -> String? {
        access(path, X_OK) == 0 ? path : nil
    }
}
