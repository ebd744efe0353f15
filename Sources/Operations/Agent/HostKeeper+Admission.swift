// 3.1 steps 4 and 6: until a cluster is there, its ports for clients let in only who makes it. A client that is quick would write
// what is gone when the bootstrap is given up.
//
// Only the bundled server knows of it: upstream's would have to be restarted to let others in. Nor where certificates for clients
// are made elsewhere: nobody here knows what the operator's is called.

import Foundations
import GRPC
import Glibc
import Inventory
import PKI

extension HostKeeper {
    /// Common names of the operator's certificate for clients, and of those by which agents look at their members.
    static let makers = ["root", "covey-health"]

    /// Where a server that makes a cluster looks for who may come; nil: all may.
    func admission(_ inventory: Inventory, _ file: (String) -> String) -> String? {
        inventory.engine.program == nil && inventory.clientCA.leaves == nil ? file(inventory.name) : nil
    }

    /// Before the server is told to look there.
    func closeToClients(_ inventory: Inventory) throws(GRPCStatus) {
        guard let path = admission(inventory, folders.admission) else { return }
        try perform { () throws(PKIError) in
            try KeyFile.write(Array((Self.makers.joined(separator: "\n") + "\n").utf8), to: path, mode: 0o644)
        }
    }

    /// Once the ledger says that the cluster is there; also at a look around, for an agent that was killed before it came here.
    func openToClients(_ cluster: String, _ ledger: Ledger?) {
        guard ledger?.state == .active, KeyFile.exists(folders.admission(cluster)) else { return }
        unsafe unlink(folders.admission(cluster))
        Folder.sync(of: folders.admission(cluster))
    }
}
