// What stands in the way of running a member on this host: each check with what was seen and what to do about it.

import CLinux
import Flags
import Foundations
import GRPC
import Glibc
import JSON
import Linux
import PKI
import Wire

extension HostKeeper {
    func describe(_ request: AgentPB.DescribeRequest) throws(GRPCStatus) -> AgentPB.DescribeResponse {
        var answer = AgentPB.DescribeResponse(
            host: host.name, version: ProgramVersion.covey, machineId: firstLine("/etc/machine-id"), kernel: kernel,
            supervisor: backend.name, wallClock: Int64(Clock.wall()))
        if !request.program.isEmpty { answer.engineVersion = engineVersion(request.program) }
        answer.programDigest = packageDigest.of(packageProgram)
        answer.isClockKept = isClockKept
        guard !request.cluster.isEmpty else { return answer }
        try checkName(request.cluster)
        let parent = parentOfData(request)
        var checks = [clock, swap, diskSpace(parent), fileSystem(parent)]
        if try ledger(request.cluster) == nil {
            checks.append(emptiness(request))
            checks += request.ports.map { port(Int($0), request.address) }
        }
        if request.measureDisk {
            let (time, check) = diskSpeed(parent)
            answer.syncTime = time
            checks.append(check)
        }
        var room = statvfs()
        if unsafe statvfs(parent, &room) == 0 {
            answer.diskFree = UInt64(room.f_bavail) * UInt64(room.f_frsize)
            answer.diskSize = UInt64(room.f_blocks) * UInt64(room.f_frsize)
        }
        if backend.name == "systemd" { checks.append(units) }
        checks.append(programsRun(parent))
        if !request.program.isEmpty {
            let version = answer.engineVersion
            checks.append(
                check(
                    "engine.program", version.isEmpty ? .fail : .pass,
                    "\(request.program): \(version.isEmpty ? "no etcd 3.4 or 3.5 that runs" : version)",
                    "apt install etcd-server, or name another in spec.server.program"))
        }
        answer.checks = checks
        return answer
    }

    private func check(
        _ name: String, _ verdict: AgentPB.Check.Verdict, _ evidence: String, _ remedy: String = ""
    ) -> AgentPB.Check {
        AgentPB.Check(name: name, verdict: verdict, evidence: evidence, remedy: verdict == .pass ? "" : remedy)
    }

    /// The nearest folder above the data that is there.
    private func parentOfData(_ request: AgentPB.DescribeRequest) -> String {
        var path =
            folders.root + (request.dataDirectory.isEmpty ? "/var/lib/covey/\(request.cluster)" : request.dataDirectory)
        while !KeyFile.exists(path), let slash = path.lastIndex(of: "/"), slash > path.startIndex {
            path = String(path[..<slash])
        }
        return path
    }

    private var isClockKept: Bool { covey_clock_is_synchronised() != 0 }

    private var clock: AgentPB.Check {
        check(
            "clock.synchronised", isClockKept ? .pass : .warn,
            isClockKept ? "synchronised" : "the kernel says it is not",
            "run a time service (systemd-timesyncd, chrony)")
    }

    private var swap: AgentPB.Check {
        let devices = lines("/proc/swaps").dropFirst().count
        return check(
            "os.swap", devices == 0 ? .pass : .warn, "\(devices) devices",
            "members wait for swapped pages; switch it off")
    }

    private func diskSpace(_ path: String) -> AgentPB.Check {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else {
            return check("disk.space", .fail, "\(SystemError("statvfs", path))")
        }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        let text = "\(ByteSize.format(free)) free in \(path)"
        return check(
            "disk.space", free < 256 << 20 ? .fail : free < 4 << 30 ? .warn : .pass, text,
            "make room or give another disk")
    }

    private func fileSystem(_ path: String) -> AgentPB.Check {
        let kind = unsafe covey_file_system(path)
        guard kind != 0 else { return check("disk.filesystem", .fail, "\(SystemError("statfs", path))") }
        let names: [UInt32: String] = [
            0x6969: "nfs", 0x0102_1994: "tmpfs", 0x794c_7630: "overlay", 0x5346_544e: "ntfs",
        ]
        guard let name = names[kind] else {
            return check("disk.filesystem", .pass, "type 0x\(String(kind, radix: 16))")
        }
        // NFS tells lies about what is durable; the others are for trying things out.
        return check(
            "disk.filesystem", name == "nfs" ? .fail : .warn, name, "data belongs on a local file system: ext4 or xfs")
    }

    private func emptiness(_ request: AgentPB.DescribeRequest) -> AgentPB.Check {
        let path =
            folders.root + (request.dataDirectory.isEmpty ? "/var/lib/covey/\(request.cluster)" : request.dataDirectory)
        let hasData = KeyFile.exists(path + "/member")
        return check(
            "data.empty", hasData ? .fail : .pass, hasData ? "\(path) holds data and there is no ledger" : path,
            "nobody knows whose data it is; move \(path) away by hand")
    }

    private func port(_ port: Int, _ address: String) -> AgentPB.Check {
        do throws(SystemError) {
            guard let place = try SocketAddress.resolve(host: address, port: String(port), passive: true).first else {
                return check("port.\(port)", .fail, "\(address) is no address")
            }
            close(try Socket.listen(place))
            return check("port.\(port)", .pass, "free on \(address)")
        } catch {
            return check("port.\(port)", .fail, "\(address): \(error.reason)", "another program has it: ss -ltnp")
        }
    }

    /// A hundred records of the size of a log entry; the slowest of a hundred is what elections feel.
    private func diskSpeed(_ folder: String) -> (time: UInt64, AgentPB.Check) {
        let path = "\(folder)/.covey-disk-check"
        let descriptor = unsafe covey_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { return (0, check("disk.fdatasync", .fail, "\(SystemError("open", path))")) }
        defer {
            close(descriptor)
            unsafe unlink(path)
        }
        let record = [UInt8](repeating: 0x5a, count: 2300)
        var times: [UInt64] = []
        for _ in 0..<100 {
            let start = Clock.monotonic()
            let written = unsafe record.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
            guard written == record.count, fdatasync(descriptor) == 0 else {
                return (0, check("disk.fdatasync", .fail, "\(SystemError("write", path))"))
            }
            times.append(Clock.monotonic() - start)
        }
        times.sort()
        let p99 = times[98]
        let text = "p99 \(p99 / 1_000_000).\(p99 / 100_000 % 10) ms, worst \(times[99] / 1_000_000) ms in \(folder)"
        return (
            p99,
            check(
                "disk.fdatasync", p99 > 25_000_000 ? .fail : p99 > 10_000_000 ? .warn : .pass, text,
                "at most 10 ms is wanted: a faster disk, or one of its own")
        )
    }

    /// ST_NOEXEC of statvfs.
    private static let noExecution: UInt = 8

    /// Programs are started from /var/lib/covey/versions.
    private func programsRun(_ parent: String) -> AgentPB.Check {
        var path = folders.versions
        while !KeyFile.exists(path), let slash = path.lastIndex(of: "/"), slash > path.startIndex { path = String(path[..<slash]) }
        var status = statvfs()
        let isRefused = unsafe statvfs(path, &status) == 0 && status.f_flag & Self.noExecution != 0
        return check(
            "slots.exec", isRefused ? .fail : .pass, isRefused ? "\(path) is on a file system mounted noexec" : path,
            "mount \(folders.versions) without noexec: servers are started from there")
    }

    private var units: AgentPB.Check {
        do throws(BackendError) {
            _ = try backend.state("preflight")
            return check("systemd.bus", .pass, "answers")
        } catch {
            return check("systemd.bus", .fail, error.description, "the agent must reach systemd over the system bus")
        }
    }

    private var kernel: String { firstLine("/proc/sys/kernel/osrelease") }

    private func lines(_ path: String) -> [Substring] {
        // Files of /proc that are not there say nothing.
        guard let bytes = try? KeyFile.read(path).bytes else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { $0 }
    }

    private func firstLine(_ path: String) -> String { lines(path).first.map(String.init) ?? "" }
}
