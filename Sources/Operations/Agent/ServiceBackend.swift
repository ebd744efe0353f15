// Who runs the member: systemd, or the agent itself with plain child processes where there is no systemd. Both are asked
// in the same words and used on the agent's host thread only.

import Glibc
import Linux
import Systemd
import Wire

struct BackendError: Error, Equatable, CustomStringConvertible { var description: String }

protocol ServiceBackend: AnyObject {
    /// `systemd` or `processes`.
    var name: String { get }
    func state(_ cluster: String) throws(BackendError) -> AgentPB.UnitState
    /// Whether files of the unit are newer than what the supervisor has read: whoever wrote them was killed before it could say so.
    func needsReload(_ cluster: String) throws(BackendError) -> Bool
    /// The unit's files have changed.
    func reload() throws(BackendError)
    /// Ordered; the state tells how it goes.
    func start(_ cluster: String) throws(BackendError)
    func stop(_ cluster: String) throws(BackendError)
    func restart(_ cluster: String) throws(BackendError)
    func setEnabled(_ cluster: String, _ on: Bool) throws(BackendError)
    /// A masked unit cannot be started by anybody.
    func setMasked(_ cluster: String, _ on: Bool) throws(BackendError)
    /// From time to time: ended children are started again.
    func tick()
}

final class SystemdBackend: ServiceBackend {
    let name = "systemd"
    private var bus: SystemBus?

    private func unit(_ cluster: String) -> String { "covey-server@\(cluster).service" }

    /// A connection that broke (the bus was restarted) is made again once.
    private func ask<Value>(_ body: (SystemBus) throws(BusError) -> Value) throws(BackendError) -> Value {
        for isLast in [false, true] {
            do throws(BusError) {
                let bus: SystemBus
                if let open = self.bus { bus = open } else { bus = try SystemBus() }
                self.bus = bus
                return try body(bus)
            } catch {
                self.bus = nil
                if isLast || !error.name.isEmpty { throw BackendError(description: error.description) }
            }
        }
        throw BackendError(description: "the system bus is not there")
    }

    func state(_ cluster: String) throws(BackendError) -> AgentPB.UnitState {
        let status = try ask { bus throws(BusError) in try bus.status(unit(cluster)) }
        return AgentPB.UnitState(
            active: status.activeState, sub: status.subState, status: status.statusText,
            mainProcess: status.mainProcess,
            restarts: status.restarts, exitStatus: status.exitStatus, isEnabled: status.isEnabled,
            isMasked: status.isMasked)
    }

    func needsReload(_ cluster: String) throws(BackendError) -> Bool {
        try ask { bus throws(BusError) in try bus.needsReload(unit(cluster)) }
    }

    func reload() throws(BackendError) { try ask { bus throws(BusError) in try bus.reload() } }

    func start(_ cluster: String) throws(BackendError) {
        try ask { bus throws(BusError) in
            try bus.resetFailed(unit(cluster))
            try bus.start(unit(cluster))
        }
    }

    func stop(_ cluster: String) throws(BackendError) {
        try ask { bus throws(BusError) in try bus.stop(unit(cluster)) }
    }

    func restart(_ cluster: String) throws(BackendError) {
        try ask { bus throws(BusError) in try bus.restart(unit(cluster)) }
    }

    func setEnabled(_ cluster: String, _ on: Bool) throws(BackendError) {
        try ask { bus throws(BusError) in
            for unit in [unit(cluster), "covey-health@\(cluster).timer"] {
                if on { try bus.enable(unit) } else { try bus.disable(unit) }
            }
            try bus.reload()
            if on {
                try bus.start("covey-health@\(cluster).timer")
            } else {
                try bus.stop("covey-health@\(cluster).timer")
                // What it said last, or is about to say, is not about this host any more, and nobody would ever take it back.
                try forget("covey-health@\(cluster).service", bus)
            }
        }
    }

    /// Stopped, and whether it failed is nobody's matter. A stop is only ordered: what fails while it ends would stand for ever.
    private func forget(_ unit: String, _ bus: SystemBus) throws(BusError) {
        try bus.stop(unit)
        let end = Clock.monotonic() + Self.stopTimeMax
        while Clock.monotonic() < end, !["inactive", "failed"].contains(try bus.status(unit).activeState) { usleep(20_000) }
        try bus.resetFailed(unit)
    }

    private static let stopTimeMax: UInt64 = 10_000_000_000

    func setMasked(_ cluster: String, _ on: Bool) throws(BackendError) {
        try ask { bus throws(BusError) in
            if on { try bus.mask(unit(cluster)) } else { try bus.unmask(unit(cluster)) }
            try bus.reload()
            if on { try bus.resetFailed(unit(cluster)) }
        }
    }

    func tick() {}
}
