// One executable that is many programs: by sub-command, or by the name it was called by (a link named etcd, etcdctl, etcdutl).

import CleanExit
import Control
import Flags
import Foundations
import Glibc
import Operations
import Server

@main enum Program {
    static func main() {
        OpenSSLExit.leavesAllAsItIs()
        var words = CommandLine.arguments
        let path = words.isEmpty ? "covey" : words.removeFirst()
        let name = path.split(separator: "/").last.map(String.init) ?? path
        exit(run(name, words))
    }

    private static func run(_ name: String, _ words: [String]) -> Int32 {
        if name == "etcd" { return ServerProgram.run(words, calledAs: "etcd") }
        if name == "etcdctl" { return CtlProgram.run(arguments: words, calledAs: "etcdctl") }
        if name == "etcdutl" { return UtilProgram.run(arguments: words, calledAs: "etcdutl") }
        guard let first = words.first else {
            print(help)
            return 0
        }
        if let code = OperatorProgram.run(words) { return code }
        let rest = Array(words.dropFirst())
        switch first {
        case "server": return ServerProgram.run(rest, calledAs: "covey server")
        case "ctl": return CtlProgram.run(arguments: rest, calledAs: "covey ctl")
        case "util": return UtilProgram.run(arguments: rest, calledAs: "covey util")
        case "man": return Documents.manual(rest)
        case "completion": return Documents.completion(rest)
        case "version", "--version":
            print("covey \(ProgramVersion.covey) (etcd API \(ProgramVersion.etcd), linux/\(ProgramVersion.architecture))")
            return 0
        case "help", "--help", "-h":
            print(help)
            return 0
        default:
            ServerProgram.complain("covey: there is no command \"\(first)\"; see: covey help")
            return 2
        }
    }

    private static let help = """
        covey: an etcd-compatible server, its tools, and the agent that runs clusters of it

          covey server    start a member; flags as etcd's (covey server --help)
          covey ctl       talk to a server: keys, watches, leases, members, users (covey ctl --help)
          covey util      work on snapshot files and data directories, without a server (covey util --help)
          covey up        a cluster on this machine, from an inventory (covey up --help)
          covey enroll    give hosts their agents' identities; then: preflight, apply, member, restart, certs, doctor, op,
                          artifact (programs and who signed them), audit (who did what)
          covey agent     the daemon of a host, which does what those ask
          covey status    the members of a cluster and how they are
          covey validate  check an inventory; also: init, plan, render, schema
          covey man       manual pages; covey completion: for bash, zsh and fish
          covey version   what this is

        Called as etcd it is the server, as etcdctl and etcdutl those tools.
        """
}
