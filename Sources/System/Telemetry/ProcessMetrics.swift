// What the kernel knows about this process, read at the time of a scrape.

import Glibc
import Linux

package enum ProcessMetrics {
    package static func declare(in registry: MetricsRegistry) {
        registry.read("process_cpu_seconds_total", "Total user and system CPU time spent in seconds", type: "counter") {
            one(cpuSeconds())
        }
        registry.read("process_open_fds", "Number of open file descriptors") { one(openDescriptors().map(Double.init)) }
        registry.read("process_max_fds", "Maximum number of open file descriptors") { one(limit(RLIMIT_NOFILE)) }
        registry.read("process_virtual_memory_bytes", "Virtual memory size in bytes") { one(bytes(.virtual)) }
        registry.read("process_resident_memory_bytes", "Resident memory size in bytes") { one(bytes(.resident)) }
        registry.read("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes") {
            one(limit(RLIMIT_AS))
        }
        registry.read("process_start_time_seconds", "Start time of the process since unix epoch in seconds") {
            one(startTime)
        }
        registry.read("os_fd_used", "Count of used file descriptors") { one(openDescriptors().map(Double.init)) }
        registry.read("os_fd_limit", "The file descriptor limit") { one(limit(RLIMIT_NOFILE)) }
        registry.read("go_threads", "Number of OS threads of the process") { one(threads()) }
    }

    private static func one(_ value: Double?) -> [MetricsRegistry.Sample] { value.map { [.init($0)] } ?? [] }

    private static func bytes(_ memory: OwnProcess.Memory) -> Double? { OwnProcess.bytes(memory).map(Double.init) }

    private static func cpuSeconds() -> Double? {
        // 0 is RUSAGE_SELF, which does not import as the type the call wants.
        var usage = rusage()
        guard unsafe getrusage(Int32(0), &usage) == 0 else { return nil }
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    package static func openDescriptors() -> Int? {
        let names = LogFolder.names(in: "/proc/self/fd")
        // ".", "..", and the descriptor that reads the folder.
        return names.isEmpty ? nil : names.count - 3
    }

    private static func limit(_ resource: __rlimit_resource) -> Double? {
        var limits = rlimit()
        guard unsafe getrlimit(Int32(resource.rawValue), &limits) == 0 else { return nil }
        return limits.rlim_cur == rlim_t.max ? 0x1p64 : Double(limits.rlim_cur)
    }

    /// Fields of /proc/self/stat after the name, which may hold blanks and brackets.
    private static func stat(_ field: Int) -> Double? {
        let text = OwnProcess.text("/proc/self/stat")
        guard let end = text.lastIndex(of: ")") else { return nil }
        let words = text[text.index(after: end)...].split(separator: " ")
        return words.count > field ? Double(words[field]) : nil
    }

    private static func threads() -> Double? { stat(17) }

    private static let startTime: Double? = {
        let boot = OwnProcess.text("/proc/stat").split(separator: "\n").first { $0.hasPrefix("btime ") }
        guard let boot, let since = Double(boot.dropFirst(6)), let ticks = stat(19) else { return nil }
        return since + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }()
}
