// How a member's process begins: this program, called again, ties its end to ours and becomes the server.
//
//     covey up  --spawn-->  covey run-member PID --name=m1 ...  --exec-->  covey server --name=m1 ...
//               --spawn-->  covey run-member PID --program PATH --name=m1 ...  --exec-->  PATH --name=m1 ...

import Glibc
import Linux

enum MemberProcess {
    static let word = "run-member"

    /// `program`: upstream's server; nil for ours.
    static func words(_ flags: [String], program: String? = nil) -> [String] {
        ["covey", word, String(getpid())] + (program.map { ["--program", $0] } ?? []) + flags
    }

    /// In the child. Returns only when it could not.
    static func become(_ words: [String]) -> Int32 {
        guard let parent = words.first.flatMap({ pid_t($0) }) else {
            Output.error("covey \(word) is what `covey up` calls; it is of no use by itself\n")
            return 2
        }
        guard SupervisedProcess.endWithParent(parent, SIGTERM) else { return 1 }
        // The server reads variables of these names; the inventory alone says how it runs.
        for name in variables()
        where name.hasPrefix("ETCD_") || (name.hasPrefix("COVEY_") && name != "COVEY_FAILPOINTS") {
            unsafe unsetenv(name)
        }
        if words.count > 2 && words[1] == "--program" {
            Output.error("\(SupervisedProcess.become(words[2], [words[2]] + words.dropFirst(3)))\n")
            return 1
        }
        guard let program = ownProgram() else { return 1 }
        Output.error("\(SupervisedProcess.become(program, ["covey", "server"] + words.dropFirst()))\n")
        return 1
    }

    static func ownProgram() -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0, count < buffer.count else { return nil }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// As above, and by its name after a package has put another file there.
    static func installedProgram() -> String? {
        ownProgram().map { $0.hasSuffix(" (deleted)") ? String($0.dropLast(10)) : $0 }
    }

    private static func variables() -> [String] {
        var names: [String] = []
        var next = unsafe environ
        while let entry = unsafe next.pointee {
            names.append(String(unsafe String(cString: entry).prefix { $0 != "=" }))
            unsafe next += 1
        }
        return names
    }
}
