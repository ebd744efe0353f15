// Settings take effect when a server starts. What was rendered while it ran is noted with the process that does not know it
// yet; as long as that one runs, the member is to be restarted. No clock is asked.

import Foundations
import GRPC
import Glibc
import PKI
import Rendering
import Systemd
import Wire

extension HostKeeper {
    private func note(_ cluster: String) -> String { folders.records(cluster) + "/restart-needed" }

    private var boot: String {
        let path = "/proc/sys/kernel/random/boot_id"
        // Without it a number used again after a reboot costs a restart too many.
        return (try? KeyFile.read(path).bytes).map { String(decoding: $0, as: UTF8.self).filter { !$0.isWhitespace } } ?? "-"
    }

    private func mark(_ process: Int32) -> String { "\(boot) \(process)" }

    /// Of the files of a member as they are on disk, what a running server would have to know. Nil when there are none.
    private func settings(_ files: [RenderedFile]) -> [String]? {
        var lines: [String] = []
        var isThere = false
        for file in files {
            guard let bytes = try? KeyFile.read(file.path).bytes else { continue }
            isThere = true
            lines += Self.settings(String(decoding: bytes, as: UTF8.self))
        }
        return isThere ? lines : nil
    }

    /// Who is a member a running server knows better, and that its cluster has been made it sees; comments it does not read.
    static func settings(_ text: String) -> [String] {
        let known = ["#", "initial-cluster", "client-admission-file"]
        return text.split(separator: "\n").filter { line in !known.contains { line.hasPrefix($0) } }.map(String.init)
    }

    /// Before the files are written. One that is killed in between costs a restart too many, and never one too few.
    func noteSettings(_ cluster: String, _ files: [RenderedFile]) throws(GRPCStatus) {
        guard let there = settings(files), there != files.flatMap({ Self.settings($0.text) }) else { return }
        let state = try perform { () throws(BackendError) in try backend.state(cluster) }
        guard state.mainProcess > 0 else { return }
        try perform { () throws(PKIError) in
            try KeyFile.write(Array(mark(state.mainProcess).utf8), to: note(cluster), mode: 0o600)
        }
    }

    func needsRestart(_ cluster: String, _ unit: AgentPB.UnitState?) -> Bool {
        guard let bytes = try? KeyFile.read(note(cluster)).bytes, let unit else { return false }
        if unit.mainProcess > 0 && mark(unit.mainProcess) == String(decoding: bytes, as: UTF8.self) { return true }
        // Another process runs, or will: it reads what is there.
        unsafe unlink(note(cluster))
        return false
    }

    /// From time to time: an agent that was killed between writing a unit's file and systemd's reading it left the old unit there.
    /// What that does not help is not repeated until it was in order.
    func haveUnitsRead(_ cluster: String) {
        do throws(BackendError) {
            guard try backend.needsReload(cluster) else {
                reloadedInVain.remove(cluster)
                return
            }
            guard !reloadedInVain.contains(cluster) else { return }
            try backend.reload()
            if try backend.needsReload(cluster) { reloadedInVain.insert(cluster) }
            let text = "\(cluster): files of its unit were newer than what \(backend.name) had read; it has read them now"
            Output.withoutJournal("covey agent: \(text)\n")
            JournalRecord.send(
                text, id: MessageID.unitsRead, priority: 5,
                fields: [("COVEY_CLUSTER", cluster), ("COVEY_MEMBER", host.name)])
        } catch {
            // Looked at again before anything is started, where it matters and is told.
            Output.error("covey agent: \(cluster): \(error)\n")
        }
    }
}
