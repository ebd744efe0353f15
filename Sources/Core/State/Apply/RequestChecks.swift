// What a request must be before anything is done with it: the checks that need no state, in the order in which clients
// see their errors (client-semantics 2 to 5). Run where a request enters, never on log entries.

import Foundations
import GRPC
import MVCC
import Wire

package enum RequestChecks {
    package static func range(_ request: borrowing RangeRequestView) throws(GRPCStatus) {
        guard request.key.byteCount > 0 else { throw EtcdError.emptyKey }
        guard RangeOptions.isKnownSort(request.sortOrder, request.sortTarget) else { throw EtcdError.invalidSortOption }
    }

    package static func put(_ request: borrowing PutRequestView) throws(GRPCStatus) {
        guard request.key.byteCount > 0 else { throw EtcdError.emptyKey }
        if request.ignoreValue && request.value.byteCount > 0 { throw EtcdError.valueProvided }
        if request.ignoreLease && request.lease != 0 { throw EtcdError.leaseProvided }
    }

    package static func deleteRange(_ request: borrowing DeleteRangeRequestView) throws(GRPCStatus) {
        guard request.key.byteCount > 0 else { throw EtcdError.emptyKey }
    }

    package static func txn(_ request: RawSpan, operationsMax: Int) throws(GRPCStatus) {
        do {
            try TxnRules.check(request, operationsMax: operationsMax)
        } catch {
            throw GRPCStatus(error)
        }
    }

    package static func roleGrantPermission(_ request: AuthRoleGrantPermissionRequest) throws(GRPCStatus) {
        guard let permission = request.perm else { throw EtcdError.permissionNotGiven }
        try AuthStore.checkGrantedRange(permission)
    }

    /// A password that bcrypt would cut, or that the system's crypt could not read to its end.
    package static func password(_ password: String) throws(GRPCStatus) {
        guard password.utf8.count <= passwordBytesMax else { throw EtcdError.passwordTooLong }
        guard !password.utf8.contains(0) else { throw EtcdError.authFailed }
    }
}

extension GRPCStatus {
    package init(_ refusal: TxnRefusal) {
        switch refusal {
        case .malformed(let error): self = EtcdError.undecodableRequest("\(error)")
        case .tooManyOperations: self = EtcdError.tooManyOps
        case .emptyKey: self = EtcdError.emptyKey
        case .keyNotFound: self = EtcdError.keyNotFound
        case .valueProvided: self = EtcdError.valueProvided
        case .leaseProvided: self = EtcdError.leaseProvided
        case .invalidSort: self = EtcdError.invalidSortOption
        case .duplicateKey: self = EtcdError.duplicateKey
        }
    }
}
