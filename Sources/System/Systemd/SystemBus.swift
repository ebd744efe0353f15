// Units of this machine's systemd, through sd-bus and not by running systemctl. Calls are short: starting and stopping is
// ordered, not awaited; who wants to know how it went asks for the unit's state.
//
// One connection belongs to one thread.

import CSystemd
import Glibc
import Linux

package struct BusError: Error, Equatable, Sendable, CustomStringConvertible {
    /// `org.freedesktop.systemd1.NoSuchUnit`, or empty for a failure of the connection.
    package var name: String
    package var message: String
    package var call: String

    package var description: String { "systemd \(call): \(message)\(name.isEmpty ? "" : " (\(name))")" }
}

/// What systemd says of a unit.
package struct UnitStatus: Equatable, Sendable {
    package var loadState = ""
    package var activeState = ""
    package var subState = ""
    package var statusText = ""
    package var unitFileState = ""
    package var mainProcess: Int32 = 0
    package var restarts: UInt32 = 0
    package var exitStatus: Int32 = 0

    package var isMasked: Bool { loadState == "masked" || unitFileState == "masked" }
    package var isEnabled: Bool { unitFileState == "enabled" || unitFileState == "enabled-runtime" }
}

@safe package final class SystemBus {
    private static let destination = "org.freedesktop.systemd1"
    private static let manager = "org.freedesktop.systemd1.Manager"
    private static let managerPath = "/org/freedesktop/systemd1"
    private static let timeout: UInt64 = 25_000_000

    private let bus: OpaquePointer

    /// Whether systemd runs this machine.
    package static var isPresent: Bool { sd_booted() > 0 }

    package init() throws(BusError) {
        var opened: OpaquePointer?
        let result = unsafe sd_bus_open_system(&opened)
        guard result >= 0, let bus = unsafe opened else {
            throw BusError(
                name: "", message: unsafe String(cString: strerror(-result)), call: "connect to the system bus")
        }
        unsafe self.bus = bus
    }

    deinit { unsafe sd_bus_flush_close_unref(bus) }

    // MARK: Verbs

    package func reload() throws(BusError) { unsafe try call("Reload") { _ in 0 } }
    package func start(_ unit: String) throws(BusError) { try job("StartUnit", unit) }
    package func stop(_ unit: String) throws(BusError) { try job("StopUnit", unit) }
    package func restart(_ unit: String) throws(BusError) { try job("RestartUnit", unit) }

    /// Forgets failures, so that a start is not refused for them.
    package func resetFailed(_ unit: String) throws(BusError) {
        do throws(BusError) {
            unsafe try call("ResetFailedUnit") { message in unsafe Self.append(message, unit) }
        } catch {
            // A unit that is not loaded has no failures.
            if error.name != "org.freedesktop.systemd1.NoSuchUnit" { throw error }
        }
    }

    package func enable(_ unit: String) throws(BusError) { try files("EnableUnitFiles", [unit], force: true) }
    package func disable(_ unit: String) throws(BusError) { try files("DisableUnitFiles", [unit], force: nil) }
    package func mask(_ unit: String) throws(BusError) { try files("MaskUnitFiles", [unit], force: true) }
    package func unmask(_ unit: String) throws(BusError) { try files("UnmaskUnitFiles", [unit], force: nil) }

    private func job(_ method: String, _ unit: String) throws(BusError) {
        unsafe try call(method) { message in
            let result = unsafe Self.append(message, unit)
            return result < 0 ? result : unsafe Self.append(message, "replace")
        }
    }

    /// `force` nil: the method takes no such argument.
    private func files(_ method: String, _ units: [String], force: Bool?) throws(BusError) {
        unsafe try call(method) { message in
            var result = unsafe sd_bus_message_open_container(message, CChar(UInt8(ascii: "a")), "s")
            for unit in units where result >= 0 { result = unsafe Self.append(message, unit) }
            if result >= 0 { result = unsafe sd_bus_message_close_container(message) }
            if result >= 0 { result = unsafe Self.append(message, false) }
            if result >= 0, let force { result = unsafe Self.append(message, force) }
            return result
        }
    }

    // MARK: State

    package func status(_ unit: String) throws(BusError) -> UnitStatus {
        let path = try path(of: unit)
        let unitInterface = "org.freedesktop.systemd1.Unit"
        let service = "org.freedesktop.systemd1.Service"
        var status = UnitStatus()
        status.loadState = try text(path, unitInterface, "LoadState")
        status.activeState = try text(path, unitInterface, "ActiveState")
        status.subState = try text(path, unitInterface, "SubState")
        status.unitFileState = try text(path, unitInterface, "UnitFileState")
        guard status.loadState == "loaded", unit.hasSuffix(".service") else { return status }
        status.statusText = try text(path, service, "StatusText")
        status.mainProcess = Int32(bitPattern: try number(path, service, "MainPID", "u"))
        status.restarts = try number(path, service, "NRestarts", "u")
        status.exitStatus = Int32(bitPattern: try number(path, service, "ExecMainStatus", "i"))
        return status
    }

    /// Whether files of the unit have changed since systemd read them. Until it reads them again, a start is one of the old unit.
    package func needsReload(_ unit: String) throws(BusError) -> Bool {
        try number(try path(of: unit), "org.freedesktop.systemd1.Unit", "NeedDaemonReload", "b") != 0
    }

    private func path(of unit: String) throws(BusError) -> String {
        var error = unsafe sd_bus_error()
        defer { unsafe sd_bus_error_free(&error) }
        let reply = unsafe try send("LoadUnit", { message in unsafe Self.append(message, unit) }, &error)
        defer { unsafe sd_bus_message_unref(reply) }
        var path: UnsafePointer<CChar>?
        let result = unsafe withUnsafeMutablePointer(to: &path) { pointer in
            unsafe sd_bus_message_read_basic(reply, CChar(UInt8(ascii: "o")), UnsafeMutableRawPointer(pointer))
        }
        guard result > 0, let path = unsafe path else { throw unsafe failure(result, error, "LoadUnit") }
        return unsafe String(cString: path)
    }

    private func text(_ path: String, _ interface: String, _ name: String) throws(BusError) -> String {
        var error = unsafe sd_bus_error()
        defer { unsafe sd_bus_error_free(&error) }
        var value: UnsafeMutablePointer<CChar>?
        let result = unsafe sd_bus_get_property_string(bus, Self.destination, path, interface, name, &error, &value)
        guard result >= 0, let value = unsafe value else { throw unsafe failure(result, error, name) }
        defer { unsafe free(value) }
        return unsafe String(cString: value)
    }

    private func number(_ path: String, _ interface: String, _ name: String, _ kind: Unicode.Scalar) throws(BusError)
        -> UInt32
    {
        var error = unsafe sd_bus_error()
        defer { unsafe sd_bus_error_free(&error) }
        var value: UInt32 = 0
        let result = unsafe sd_bus_get_property_trivial(
            bus, Self.destination, path, interface, name, &error, CChar(truncatingIfNeeded: kind.value), &value)
        guard result >= 0 else { throw unsafe failure(result, error, name) }
        return value
    }

    // MARK: Calls

    private static func append(_ message: OpaquePointer, _ text: String) -> Int32 {
        unsafe text.withCString { unsafe sd_bus_message_append_basic(message, CChar(UInt8(ascii: "s")), $0) }
    }

    private static func append(_ message: OpaquePointer, _ flag: Bool) -> Int32 {
        var value: Int32 = flag ? 1 : 0
        return unsafe sd_bus_message_append_basic(message, CChar(UInt8(ascii: "b")), &value)
    }

    private func call(_ method: String, _ fill: (OpaquePointer) -> Int32) throws(BusError) {
        var error = unsafe sd_bus_error()
        defer { unsafe sd_bus_error_free(&error) }
        let reply = unsafe try send(method, fill, &error)
        unsafe sd_bus_message_unref(reply)
    }

    private func send(
        _ method: String, _ fill: (OpaquePointer) -> Int32, _ error: inout sd_bus_error
    ) throws(BusError) -> OpaquePointer {
        var made: OpaquePointer?
        var result = unsafe sd_bus_message_new_method_call(
            bus, &made, Self.destination, Self.managerPath, Self.manager, method)
        guard result >= 0, let message = unsafe made else { throw unsafe failure(result, error, method) }
        defer { unsafe sd_bus_message_unref(message) }
        result = unsafe fill(message)
        guard result >= 0 else { throw unsafe failure(result, error, method) }
        var reply: OpaquePointer?
        result = unsafe sd_bus_call(bus, message, Self.timeout, &error, &reply)
        guard result >= 0, let reply = unsafe reply else { throw unsafe failure(result, error, method) }
        return unsafe reply
    }

    private func failure(_ result: Int32, _ error: sd_bus_error, _ call: String) -> BusError {
        let name = unsafe error.name.map { unsafe String(cString: $0) } ?? ""
        let message = unsafe error.message.map { unsafe String(cString: $0) } ?? String(cString: strerror(-result))
        return BusError(name: name, message: message, call: call)
    }
}
