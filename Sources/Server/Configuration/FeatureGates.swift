// --feature-gates, `Name=true,Name=false`: switches for features that are not settled.

import Flags

package struct FeatureGates: Sendable, Equatable {
    package enum Stage: String, Sendable { case alpha, beta }

    /// Name, default, stage; and the older flag of the same meaning.
    package static let known: [(name: String, isOn: Bool, stage: Stage, flag: String?)] = [
        ("StopGRPCServiceOnDefrag", false, .alpha, "experimental-stop-grpc-service-on-defrag"),
        ("InitialCorruptCheck", false, .alpha, "experimental-initial-corrupt-check"),
        ("CompactHashCheck", false, .alpha, "experimental-compact-hash-check-enabled"),
        ("TxnModeWriteWithSharedBuffer", true, .beta, "experimental-txn-mode-write-with-shared-buffer"),
        ("LeaseCheckpoint", false, .alpha, "experimental-enable-lease-checkpoint"),
        ("LeaseCheckpointPersist", false, .alpha, "experimental-enable-lease-checkpoint-persist"),
        ("SetMemberLocalAddr", false, .alpha, "experimental-set-member-localaddr"),
        ("FastLeaseKeepAlive", true, .beta, nil),
        ("PriorityRequest", false, .alpha, nil),
    ]

    private var chosen: [String: Bool] = [:]

    package init() {}

    package init(_ text: String) throws(URLError) {
        for item in text.split(separator: ",") {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let name = FeatureGates.trimmed(parts[0])
            guard parts.count == 2 else { throw URLError("missing bool value for \(name)") }
            let isGroup = name == "AllAlpha" || name == "AllBeta"
            guard isGroup || FeatureGates.known.contains(where: { $0.name == name }) else {
                throw URLError("unrecognized feature gate: \(name)")
            }
            let value = FeatureGates.trimmed(parts[1])
            let isOn: Bool
            do throws(GoText.NumberError) { isOn = try GoText.parseBool(value) } catch {
                throw URLError(
                    "invalid value of \(name)=\(value), err: strconv.ParseBool: parsing \(GoText.quote(value)): invalid syntax"
                )
            }
            chosen[name] = isOn
        }
    }

    package subscript(_ name: String) -> Bool {
        get {
            if let explicit = chosen[name] { return explicit }
            guard let gate = FeatureGates.known.first(where: { $0.name == name }) else { return false }
            return chosen[gate.stage == .alpha ? "AllAlpha" : "AllBeta"] ?? gate.isOn
        }
        set { chosen[name] = newValue }
    }

    package func isChosen(_ name: String) -> Bool { chosen[name] != nil }

    static let refusal: @Sendable (String) -> String? = { text in
        do throws(URLError) { _ = try FeatureGates(text) } catch { return error.description }
        return nil
    }

    private static func trimmed(_ text: String) -> String {
        var rest = text[...]
        while rest.first == " " { rest = rest.dropFirst() }
        while rest.last == " " { rest = rest.dropLast() }
        return String(rest)
    }
}
