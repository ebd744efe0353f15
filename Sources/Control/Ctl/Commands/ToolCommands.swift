// The tool about itself.

import Flags

enum ToolCommands {
    static func version(_ invocation: Invocation) {
        let name = invocation.root.name
        invocation.console.line("\(name) version: \(CtlVersion.shown(name))")
        if !invocation.console.isEtcdctl { invocation.console.line("etcdctl level: \(ProgramVersion.etcd)") }
        invocation.console.line("API version: \(ProgramVersion.api)")
    }

    static func completion(_ invocation: Invocation) throws(CtlFailure) {
        let names = Shell.allCases.map(\.rawValue).joined(separator: ", ")
        let word = try invocation.onlyWord("completion needs the name of a shell: \(names)")
        guard let shell = Shell(rawValue: word) else {
            throw .arguments("no completion for the shell \(GoText.quote(word)), only for \(names)")
        }
        invocation.console.out(Completion(root: invocation.root).script(for: shell))
    }
}
