// covey-bench: speed of the whole, as ratios to a real etcd in the same run, and of parts of it.
//
//     covey-bench                  every case, and a table of ratios
//     covey-bench put range        the cases whose names begin so
//     covey-bench mvcc             one part: also state, storage
//
// What needs a server of our own starts this program as a child process (`serve-echo`), so that the server's CPU time can
// be told from the load's.

@main enum Program {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case "mvcc": MVCCBench.run(keys: arguments.count > 1 ? Int(arguments[1]) ?? 1_000_000 : 1_000_000)
        case "state": StateBench.run(arguments.count > 1 ? Int(arguments[1]) ?? 200_000 : 200_000)
        case "storage": StorageBench.run(folder: arguments.count > 1 ? arguments[1] : "/var/tmp")
        case "serve-echo": EchoServer.run(Array(arguments.dropFirst()))
        default: ServerBench.run(arguments)
        }
    }
}
