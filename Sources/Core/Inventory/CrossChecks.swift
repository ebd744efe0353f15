// What no single key can tell: values that must differ, fit together, or add up.

import Flags

extension Inventory {
    func crossChecks() -> [Problem] {
        hostAddresses() + ports() + voterCount() + zones() + times() + sizes() + certificates() + listening()
            + folders() + engines() + artifacts()
    }

    private func place(_ path: String) -> Place {
        // The nearest thing that was written.
        var parts = path.split(separator: ".")
        while !parts.isEmpty {
            if let place = resolved.find(parts.joined(separator: "."))?.place { return place }
            parts.removeLast()
        }
        return Place(line: 1, column: 1)
    }

    private func problem(_ path: String, _ what: String, _ remedy: String) -> Problem {
        Problem(.error, at: place(path), path, what, remedy: remedy)
    }

    private func warning(_ path: String, _ what: String, _ remedy: String) -> Problem {
        Problem(.warning, at: place(path), path, what, remedy: remedy)
    }

    private func hostAddresses() -> [Problem] {
        var found: [Problem] = []
        var first: [String: String] = [:]
        for host in hosts {
            let path = "spec.hosts.\(host.name).address"
            if AddressText.isWildcard(host.address) {
                found.append(
                    problem(
                        path, "\(host.address) is no address others can reach",
                        "give the host's own; see spec.network.listen"))
            } else if supervisor == .systemd && hosts.count > 1 && AddressText.isLoopback(host.address) {
                found.append(
                    problem(
                        path, "\(host.address) cannot be reached from other hosts",
                        "for a cluster on one machine set spec.supervisor: processes"))
            }
            let key = host.address.lowercased()
            if let other = first[key], supervisor == .systemd {
                found.append(problem(path, "\(host.address) is the address of \(other) too", "each host has its own"))
            }
            first[key] = first[key] ?? host.name
        }
        return found
    }

    private func ports() -> [Problem] {
        var found: [Problem] = []
        var taken: [String: String] = [:]
        for host in hosts {
            // The metrics port is bound on the loopback of the machine, whatever the address.
            let local = supervisor == .processes ? "loopback" : host.address.lowercased()
            let address =
                supervisor == .processes && AddressText.isLoopback(host.address)
                ? "loopback" : host.address.lowercased()
            for (kind, port, on) in [
                ("client", host.clientPort, address), ("peer", host.peerPort, address),
                ("metrics", host.metricsPort, local),
            ] {
                let key = "\(on) \(port)"
                if let other = taken[key] {
                    found.append(
                        problem(
                            "spec.hosts.\(host.name).\(kind)", "port \(port) on \(host.address) is \(other) too",
                            "give each its own: client, peer and metrics of a host, and of hosts that share an address")
                    )
                }
                taken[key] = taken[key] ?? "\(kind) of \(host.name)"
            }
        }
        return found
    }

    private func voterCount() -> [Problem] {
        let count = voters.count
        if count == 0 {
            return [problem("spec.hosts", "no host has the role voter", "give one, three or five hosts that role")]
        }
        if count > 7 {
            return [
                problem(
                    "spec.hosts", "\(count) voters are more than seven", "use 3 or 5: each write waits for a majority")
            ]
        }
        if count % 2 == 0 && !resolved.flag("spec.policy.evenVoters") {
            return [
                problem(
                    "spec.hosts", "\(count) voters tolerate \(tolerance) failures, as \(count - 1) do",
                    "use an odd number, make one a spare, or accept it with spec.policy.evenVoters: true")
            ]
        }
        return []
    }

    private func zones() -> [Problem] {
        let zoned = voters.filter { $0.zone != nil }
        if zoned.isEmpty { return [] }
        if let without = voters.first(where: { $0.zone == nil }) {
            return [warning("spec.hosts.\(without.name)", "has no zone while others have", "give it one")]
        }
        var counts: [String: Int] = [:]
        for host in zoned { counts[host.zone ?? "", default: 0] += 1 }
        return counts.sorted { $0.key < $1.key }.compactMap { zone, count in
            guard count > tolerance, counts.count > 1 else { return nil }
            let text = "zone \(zone) has \(count) of \(voters.count) voters: the cluster stops with it"
            return warning("spec.hosts", text, "spread voters so that no zone has more than \(tolerance)")
        }
    }

    private func times() -> [Problem] {
        var found: [Problem] = []
        if election < 5 * heartbeat {
            found.append(
                problem(
                    "spec.tuning.election",
                    "\(DurationText.format(election)) is less than five heartbeats of \(DurationText.format(heartbeat))",
                    "at least \(DurationText.format(5 * heartbeat))"))
        }
        for (name, value) in [("heartbeat", heartbeat), ("election", election)]
        where value % GoDuration.millisecond != 0 {
            found.append(
                problem(
                    "spec.tuning.\(name)", "\(DurationText.format(value)) is no whole number of milliseconds",
                    "round it"))
        }
        let path = "spec.tuning.autoCompaction.retention"
        switch compaction {
        case .periodic(let age) where age <= 0:
            found.append(problem(path, "is no duration, which mode periodic needs", "for example 1h"))
        case .revisions(let count) where count <= 0:
            found.append(problem(path, "is no number of revisions, which mode revision needs", "for example 10000"))
        default: break
        }
        return found
    }

    private func sizes() -> [Problem] {
        guard quotaBytes > 8 << 30 else { return [] }
        let text =
            "\(SizeText.format(quotaBytes)) is more than 8GiB: a member that joins or is restored is away for long"
        return [warning("spec.storage.quota", text, "split what is stored, or accept it")]
    }

    private func certificates() -> [Problem] {
        var found: [Problem] = []
        for (name, authority) in [("peerCA", peerCA), ("clientCA", clientCA)]
        where authority.files == nil && authority.leaves == nil && authority.lifetime < 2 * leafLifetime {
            found.append(
                problem(
                    "spec.tls.\(name).lifetime",
                    "\(DurationText.format(authority.lifetime)) is less than two lives of a certificate",
                    "at least \(DurationText.format(2 * leafLifetime))"))
        }
        for (name, authority) in [("peerCA", peerCA), ("clientCA", clientCA)] {
            found += holders(authority.holders, "spec.tls.\(name).key.holders")
            found += files(authority, "spec.tls.\(name)") + leaves(authority, "spec.tls.\(name)")
        }
        for name in extraNames.keys.sorted() where !hosts.contains(where: { $0.name == name }) {
            found.append(
                problem(
                    "spec.tls.leaf.extraSANs.\(name)", "there is no host \(name)",
                    "hosts: " + hosts.map(\.name).joined(separator: ", ")))
        }
        return found
    }

    private func files(_ authority: Authority, _ path: String) -> [Problem] {
        ["certificate", "key.file"].compactMap { key in
            let isGiven = resolved.find("\(path).\(key)")?.isAbsent == false
            if authority.files != nil && !isGiven {
                return problem(path, "mode files needs \(key)", "give the path on the operator's machine")
            }
            if authority.files == nil && isGiven {
                return problem("\(path).\(key)", "goes with mode files only", "say mode: files, or leave it out")
            }
            return nil
        }
    }

    private func leaves(_ authority: Authority, _ path: String) -> [Problem] {
        var found: [Problem] = []
        let isGiven = resolved.find("\(path).folder")?.isAbsent == false
        if authority.leaves != nil && !isGiven {
            found.append(problem(path, "mode leaves needs folder", "give the folder that has the certificates on each host"))
        }
        if authority.leaves == nil && isGiven {
            found.append(problem("\(path).folder", "goes with mode leaves only", "say mode: leaves, or leave it out"))
        }
        if authority.leaves != nil && !authority.holders.isEmpty {
            found.append(
                problem("\(path).key.holders", "nobody here has the key of that authority, so none can hold it", "leave them out"))
        }
        return found
    }

    private func holders(_ names: [String], _ path: String) -> [Problem] {
        var found: [Problem] = []
        var seen: Set<String> = []
        for name in names {
            if !seen.insert(name).inserted { found.append(problem(path, "names \(name) twice", "once is enough")) }
            if !hosts.contains(where: { $0.name == name }) {
                found.append(
                    problem(path, "there is no host \(name)", "hosts: " + hosts.map(\.name).joined(separator: ", ")))
            }
        }
        return found
    }

    private func listening() -> [Problem] {
        guard let listenAddress, !AddressText.isIP(listenAddress) else { return [] }
        return [problem("spec.network.listen", "\(listenAddress) is a name", "give an IP address to listen on")]
    }

    /// What upstream's 3.4 and 3.5 do not have is said, not left out in silence.
    private func engines() -> [Problem] {
        func isGiven(_ path: String) -> Bool { resolved.find(path)?.place != nil }
        guard engine.program != nil else {
            guard isGiven("spec.server.program") else { return [] }
            return [problem("spec.server.program", "goes with engine etcd only", "write engine: etcd, or leave it out")]
        }
        return ["spec.tls.minVersion", "spec.log.format"].filter(isGiven).map {
            warning($0, "has no effect: etcd 3.4 and 3.5 have no flag for it", "leave it out, or use engine covey")
        }
    }

    private func artifacts() -> [Problem] {
        var found: [Problem] = []
        let path = "spec.server.artifact"
        if artifact.file == nil {
            for (key, isGiven) in [
                ("signer", artifact.signer != nil), ("keys", !artifact.keys.isEmpty), ("allowUnsigned", artifact.allowsUnsigned),
            ] where isGiven {
                found.append(
                    warning(
                        "\(path).\(key)", "has no effect without file: hosts run what root has installed there",
                        "give spec.server.artifact.file, or leave it out"))
            }
        } else if artifact.allowsUnsigned {
            found.append(
                warning(
                    "\(path).allowUnsigned", "lets programs run that nobody has signed",
                    "sign them: covey artifact sign PROGRAM --key KEY"))
        }
        if engine.program != nil && artifact.file == nil && (artifact.sha256 != nil || version != nil) {
            found.append(
                warning(
                    artifact.sha256 != nil ? "\(path).sha256" : "spec.server.version",
                    "has no effect: with engine etcd and no file, hosts run what is installed there",
                    "give spec.server.artifact.file, or leave it out"))
        }
        return found
    }

    private func folders() -> [Problem] {
        var found: [Problem] = []
        if ["versions", "quarantine"].contains(name) {
            found.append(
                problem("metadata.name", "\(name) is the name of a folder beside the clusters' data", "choose another name"))
        }
        if let walDirectory, walDirectory == dataDirectory {
            found.append(
                problem("spec.storage.walDir", "is the data folder", "leave it out, or give a folder on another disk"))
        }
        if supervisor == .processes {
            for name in ["dataDir", "walDir"] where resolved.find("spec.storage.\(name)")?.isAbsent == false {
                found.append(
                    problem(
                        "spec.storage.\(name)", "does not go with supervisor processes",
                        "leave it out: `covey up --state-dir` says where"))
            }
        }
        return found
    }
}
