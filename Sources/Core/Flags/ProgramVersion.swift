// The versions we answer with. Clients and tools read the etcd level to know what a server can do, so it names the last
// release of the 3.5 line whose behaviour is complete here.

package enum ProgramVersion {
    package static let covey = "0.1.0"
    package static let etcd = "3.5.21"
    package static let api = "3.5"

    #if arch(x86_64)
        package static let architecture = "amd64"
    #elseif arch(arm64)
        package static let architecture = "arm64"
    #else
        package static let architecture = "unknown"
    #endif
}
