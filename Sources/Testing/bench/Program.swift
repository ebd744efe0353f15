// covey-bench: speed of the parts and of the whole, as ratios to a real etcd in the same run.
//
//     covey-bench server           the whole server, case by case, and a table of ratios
//     covey-bench echo             the network stack: a unary echo beside etcd's serializable Range
//
// Cases that need a server start themselves as a child process (`covey-bench serve-echo ...`), so that its CPU time can be
// told from the load's.

import Glibc
import TestSupport

@main enum Program {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case "mvcc": MVCCBench.run(keys: arguments.count > 1 ? Int(arguments[1]) ?? 1_000_000 : 1_000_000)
        case "state": StateBench.run(arguments.count > 1 ? Int(arguments[1]) ?? 200_000 : 200_000)
        case "storage": StorageBench.run(folder: arguments.count > 1 ? arguments[1] : "/var/tmp")
        case "echo": EchoBench.run(Array(arguments.dropFirst()))
        case "serve-echo": EchoServer.run(Array(arguments.dropFirst()))
        case "server": ServerBench.run(Array(arguments.dropFirst()))
        case nil: ServerBench.run([])
        default:
            print("usage: covey-bench server [--rounds N] [--seconds N] [--keys N] [CASE...] | echo | mvcc [KEYS] | state [ENTRIES] | storage [FOLDER]")
            exit(2)
        }
    }
}
