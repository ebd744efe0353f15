// Versions as members compare them: major.minor decides, the patch is carried along. Text is `major.minor.patch`, with
// an optional pre-release or build part behind it that sorts as semantic versioning does not need here.

package struct ClusterVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var major: Int
    package var minor: Int
    package var patch: Int

    package init(_ major: Int, _ minor: Int, _ patch: Int = 0) {
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    /// Nil unless the text starts with three numbers and goes on, if at all, with "-" or "+".
    package init?(_ text: String) {
        let core = text.prefix { $0 != "-" && $0 != "+" }
        let parts = core.split(separator: ".", omittingEmptySubsequences: false).map { part -> Int? in
            part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(part) : nil
        }
        guard parts.count == 3, let major = parts[0], let minor = parts[1], let patch = parts[2] else { return nil }
        self.init(major, minor, patch)
    }

    package static func < (a: ClusterVersion, b: ClusterVersion) -> Bool {
        (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
    }

    /// Without the patch: what a cluster version is cut down to.
    package var release: ClusterVersion { ClusterVersion(major, minor) }

    package var description: String { "\(major).\(minor).\(patch)" }

    /// What the cluster version should become, as the leader decides it (apply-semantics 7), from the server versions
    /// of all members, nil for one that could not be asked. Nil: leave it as it is.
    package static func decide(
        current: ClusterVersion?, members: [ClusterVersion?], downgradeTarget: ClusterVersion?
    ) -> ClusterVersion? {
        var lowest: ClusterVersion?
        for version in members {
            guard let version else {
                lowest = nil
                break
            }
            lowest = min(lowest ?? version, version)
        }
        let candidate = lowest?.release
        guard let current else { return candidate ?? ClusterVersion(3, 0) }
        guard let candidate else { return nil }
        if current < candidate { return candidate }
        // Lowering only step by step, and only where somebody asked for it.
        let isOneBelow = candidate.major == current.major && candidate.minor + 1 == current.minor
        if isOneBelow, let downgradeTarget, downgradeTarget.release == candidate { return candidate }
        return nil
    }
}
