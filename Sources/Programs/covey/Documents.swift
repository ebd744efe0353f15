// Manual pages and completion of the whole executable, from the definitions that parse command lines and print help. The
// package is made with these; `covey man` lists the pages there are.

import Control
import Flags
import Foundations
import Operations
import Server

enum Documents {
    /// `covey man` and `covey man covey-ctl.1`.
    static func manual(_ words: [String]) -> Int32 {
        guard let name = words.first else {
            for page in pages { print(page.name) }
            return 0
        }
        guard let page = pages.first(where: { $0.name == name || $0.name.dropLast(2) == name }) else {
            ServerProgram.complain("covey man: there is no page \(name); `covey man` lists those there are")
            return 2
        }
        print(page.text(), terminator: "")
        return 0
    }

    static func completion(_ words: [String]) -> Int32 {
        guard words.count == 1, let shell = Shell(rawValue: words[0]) else {
            ServerProgram.complain("covey completion: say for which shell: bash, zsh or fish")
            return 2
        }
        print(Completion(root: everything).script(for: shell), terminator: "")
        return 0
    }

    // MARK: Parts

    private struct Page {
        /// As the file is called: the program and its section.
        var name: String
        var text: () -> String
    }

    private static var pages: [Page] {
        var pages = [
            Page(name: "covey.1") { overview },
            Page(name: "covey-ctl.1") { toolPage(CtlProgram.commands, "talk to an etcd-compatible server", "ETCDCTL") },
            Page(name: "covey-util.1") {
                toolPage(UtilProgram.commands, "work on snapshot files and data directories", nil)
            },
            Page(name: "covey-server.8") { ServerProgram.manual("covey server") },
        ]
        for command in OperatorProgram.commands.listed {
            let section = daemons.contains(command.name) ? 8 : 1
            pages.append(Page(name: "covey-\(command.name).\(section)") { verbPage(command, section) })
        }
        return pages
    }

    private static let daemons = ["agent"]

    private static var overview: String {
        ManPage(
            program: "covey", summary: "an etcd-compatible server, its tools, and the commands that run clusters of it",
            description:
                "One executable that is many programs, by its first word. Called as etcd, etcdctl or etcdutl it is "
                + "those programs.",
            sections: [
                (
                    "FILES",
                    """
                    /etc/covey/CLUSTER/server.yaml: the configuration of this host's member, read by covey\u{2d}server@CLUSTER.service

                    /var/lib/covey/CLUSTER: its data; removing the package leaves it
                    """
                ),
                (
                    "SEE ALSO",
                    "covey-server(8), covey-ctl(1), covey-util(1), "
                        + OperatorProgram.commands.listed.map {
                            "covey-\($0.name)(\(daemons.contains($0.name) ? 8 : 1))"
                        }.joined(separator: ", ")
                ),
            ]
        ).text(OperatorProgram.commands)
    }

    private static func toolPage(_ root: Command, _ summary: String, _ prefix: String?) -> String {
        ManPage(program: root.name, summary: summary, description: root.summary, environmentPrefix: prefix).text(root)
    }

    private static func verbPage(_ command: Command, _ section: Int) -> String {
        let page = ManPage(
            program: "covey \(command.name)", section: section, summary: command.summary,
            description: command.description, sections: [("SEE ALSO", "covey(1)")])
        if command.commands.isEmpty { return page.text(of: command) }
        return page.text(command)
    }

    /// One tree: the operator's verbs beside the tools and the server.
    private static var everything: Command {
        var root = OperatorProgram.commands
        root.commands += [
            below("ctl", CtlProgram.commands), below("util", UtilProgram.commands),
            Command("server", "", "start a member", options: ServerProgram.options),
            Command("man", "[PAGE]", "print a manual page, or list them"),
            Command("completion", "bash|zsh|fish", "print completion for a shell"),
            Command("version", "", "what this is"),
        ]
        return root
    }

    private static func below(_ name: String, _ tool: Command) -> Command {
        var group = Command(name, "", tool.summary, commands: tool.commands)
        group.sharedOptions = tool.options
        return group
    }
}
