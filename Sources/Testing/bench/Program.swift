// Measures parts of Covey: `covey-bench CASE [arguments]`. Build with -c release; a debug build says nothing about speed.

@main enum Program {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case "mvcc": MVCCBench.run(keys: arguments.count > 1 ? Int(arguments[1]) ?? 1_000_000 : 1_000_000)
        case "storage": StorageBench.run(folder: arguments.count > 1 ? arguments[1] : "/var/tmp")
        default: print("usage: covey-bench mvcc [KEYS] | storage [FOLDER]")
        }
    }
}
