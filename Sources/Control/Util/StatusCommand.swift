// snapshot status: what is in a snapshot file, after a check of every page.

import FileFormats
import Foundations

enum StatusCommand {
    static func run(_ invocation: UtilInvocation) throws(CtlFailure) {
        let path = try invocation.onlyWord("snapshot status requires exactly one argument")
        let style = try invocation.style()
        let file = try ImageFile(path, call: "stat")
        let status: SnapshotStatus
        let digest: ImageFile.Digest
        do throws(BoltDamage) {
            status = try SnapshotStatus(file.image())
            digest = try file.digest()
        } catch {
            throw CtlFailure(.error, "invalid database", advice: "\(path): \(error)")
        }
        invocation.console.console.out(try Reply.snapshotStatus(status).rendered(style))
        guard case .bad(let expected, let found) = digest else { return }
        let damage =
            "\(path): the data do not fit the SHA-256 at the end of the file: "
            + "expected \(Hexadecimal.encode(expected)), got \(Hexadecimal.encode(found))"
        // etcdutl does not look; scripts that only want the numbers go on.
        guard !invocation.console.isEtcdutl else { return invocation.console.warn(damage) }
        throw CtlFailure(.error, damage, advice: "The file was changed after it was saved. Use another copy or backup.")
    }
}
