// What the dialled connections of one loop share: buffers, the list of those with something to say, and their flush at the
// end of a turn. Belongs to the loop's thread.
//
//     let connection = try dialler.dial(address, settings, owner)      connecting; the owner hears how it goes
//     owner.connectionReady(connection)
//     connection.start(head, receiver)                                 any number of calls
//     owner.connectionClosed(connection, reason)                       once, last

import Foundations
import GRPC
import Linux
import TLSEngine

package protocol GRPCClientConnectionOwner: AnyObject {
    /// The server has answered in HTTP/2: calls can start.
    func connectionReady(_ connection: GRPCClientConnection)
    /// The server takes no new calls here; those under way go on. `tooManyPings`: keep-alives came too often for it.
    func connectionDraining(_ connection: GRPCClientConnection, tooManyPings: Bool)
    /// It could not be made, or is lost. Its calls have been told before.
    func connectionClosed(_ connection: GRPCClientConnection, reason: GRPCStatus)
}

package final class GRPCDialler {
    package struct Settings {
        /// The `:authority` of calls.
        package var authority = ""
        package var userAgent = "covey"
        /// From the first packet to the server's first HTTP/2 frame.
        /// Zero: as long as it takes.
        package var connectTimeout: UInt64 = 5_000_000_000
        /// With calls in flight and nothing heard for this long the server is pinged; 0: never.
        package var keepaliveTime: UInt64 = 10_000_000_000
        package var keepaliveTimeout: UInt64 = 6_000_000_000
        /// Also without calls in flight.
        package var keepaliveWithoutCalls = false
        package var sendBytesMax = Int(Int32.max)
        package var receiveBytesMax = Int(Int32.max)

        package init() {}
    }

    package let loop: EventLoop
    private var dirty: [GRPCClientConnection] = []
    /// All that are not closed, also those that drain and are forgotten by their owners.
    private var connections: [ObjectIdentifier: GRPCClientConnection] = [:]

    /// Shared by all connections of the loop: one read, one burst of output at a time.
    var input = [UInt8](repeating: 0, count: 65536)
    var output: [UInt8] = []

    package init(loop: EventLoop) {
        self.loop = loop
        output.reserveCapacity(256 * 1024)
        loop.atEndOfTurn { [weak self] in self?.flush() }
    }

    /// Starts to connect. Errors here are the local machine's; the peer's come as `connectionClosed`.
    package func dial(
        _ address: SocketAddress, _ settings: Settings, tls: TLSSession?, _ owner: any GRPCClientConnectionOwner
    ) throws(SystemError) -> GRPCClientConnection {
        let connection = try GRPCClientConnection(
            dialler: self, address: address, settings: settings, tls: tls, owner: owner)
        connections[ObjectIdentifier(connection)] = connection
        return connection
    }

    /// Ends every connection at the end of this turn.
    package func closeAll(_ reason: GRPCStatus) {
        for connection in connections.values { connection.close(reason) }
    }

    func removed(_ connection: GRPCClientConnection) { connections[ObjectIdentifier(connection)] = nil }

    func markDirty(_ connection: GRPCClientConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection)
    }

    private func flush() {
        // Flushing may make more: calls that end, and others that begin in their place.
        while !dirty.isEmpty {
            let now = dirty
            dirty.removeAll(keepingCapacity: true)
            for connection in now {
                connection.isDirty = false
                connection.flush()
            }
        }
    }
}
