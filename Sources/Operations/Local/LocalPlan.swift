// What `covey up` is going to do, decided from the inventory, the ledger and what is on disk, before anything is touched.
//
//     no ledger,  no data   -> make the cluster
//     no ledger,  data      -> refuse: nobody knows whose data it is
//     pending                -> go on making it when all that was begun is there; else set it aside and begin again.
//                               Nobody has been told that it serves, so nothing acknowledged is lost
//     active                 -> start what has its data; leave out a member that lost it: it would vote as if it had
//                               promised nothing. Refuse without a majority, and for changes of the membership

import Inventory

struct LocalPlan: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        case bootstrap
        /// A bootstrap that was interrupted goes on under its token.
        case resume
        /// A bootstrap that was interrupted and lost something begins again, with a new token.
        case restart(quarantine: [String])
        case start
    }

    struct LeftOut: Sendable, Equatable {
        var name: String
        var reason: String
    }

    struct Refusal: Error, Sendable, Equatable {
        var what: String
        var next: String
    }

    /// What is on disk of one member.
    struct Found: Sendable, Equatable {
        var hasData: Bool
        /// The token in its identity file; nil without one.
        var token: String?
    }

    var kind: Kind
    /// Names of the members to start.
    var members: [String]
    var leftOut: [LeftOut] = []

    static func decide(_ inventory: Inventory, _ ledger: Ledger?, _ found: [String: Found]) throws(Refusal) -> LocalPlan {
        let names = inventory.voters.map(\.name)
        guard let ledger else {
            let strays = found.filter { $0.value.hasData }.keys.sorted()
            if strays.isEmpty { return LocalPlan(kind: .bootstrap, members: names) }
            throw Refusal(
                what:
                    "there is data of \(strays.joined(separator: ", ")) but no ledger that says which cluster it belongs to",
                next: "put ledger.json back from a copy, or move the folder away to begin a new cluster")
        }
        guard ledger.cluster == inventory.name else {
            throw Refusal(
                what: "the ledger is of cluster \(ledger.cluster), the inventory of \(inventory.name)",
                next: "give another --state-dir")
        }
        if inventory.generation != 0 && inventory.generation < ledger.generation {
            throw Refusal(
                what: "the inventory is generation \(inventory.generation), but \(ledger.generation) is in effect",
                next: "use the newer file, or raise metadata.generation if this one is meant")
        }
        try checkMembership(inventory, ledger)
        return switch ledger.state {
        case .pending: interrupted(names, ledger, found)
        case .active: try starting(names, ledger, found)
        }
    }

    /// Names and peer URLs are the members' identity: to change them is a procedure of its own.
    private static func checkMembership(_ inventory: Inventory, _ ledger: Ledger) throws(Refusal) {
        let wanted = Dictionary(uniqueKeysWithValues: inventory.voters.map { ($0.name, $0.peerURL) })
        let made = Dictionary(uniqueKeysWithValues: ledger.members.map { ($0.name, $0.peerURL) })
        var differences: [String] = []
        for name in Set(wanted.keys).union(made.keys).sorted() {
            switch (made[name], wanted[name]) {
            case (nil, .some): differences.append("\(name) is new")
            case (.some, nil): differences.append("\(name) is gone")
            case (let old?, let new?) where old != new: differences.append("\(name) moved from \(old) to \(new)")
            default: break
            }
        }
        if differences.isEmpty { return }
        throw Refusal(
            what: "the inventory changes the membership of a cluster that exists: "
                + differences.joined(separator: ", "),
            next: "put it back; `covey up` starts the members a cluster has and does not change them")
    }

    private static func interrupted(_ names: [String], _ ledger: Ledger, _ found: [String: Found]) -> LocalPlan {
        let begun = ledger.members.filter(\.wasStarted).map(\.name)
        let isWhole = begun.allSatisfy { found[$0]?.hasData == true && found[$0]?.token == ledger.token }
        if isWhole { return LocalPlan(kind: .resume, members: names) }
        return LocalPlan(kind: .restart(quarantine: found.filter { $0.value.hasData }.keys.sorted()), members: names)
    }

    private static func starting(_ names: [String], _ ledger: Ledger, _ found: [String: Found]) throws(Refusal)
        -> LocalPlan
    {
        var plan = LocalPlan(kind: .start, members: [])
        for name in names {
            let state = found[name] ?? Found(hasData: false, token: nil)
            if !state.hasData {
                plan.leftOut.append(
                    LeftOut(name: name, reason: "its data is gone; it must be replaced, not started empty"))
            } else if state.token != ledger.token {
                plan.leftOut.append(
                    LeftOut(name: name, reason: "its data is of another cluster, or of an earlier life of this one"))
            } else {
                plan.members.append(name)
            }
        }
        guard plan.members.count >= names.count / 2 + 1 else {
            throw Refusal(
                what: "only \(plan.members.count) of \(names.count) members can start: "
                    + plan.leftOut.map { "\($0.name): \($0.reason)" }.joined(separator: "; "),
                next:
                    "bring back the data of one of them from where it went (see the folder quarantine), or restore a backup"
            )
        }
        return plan
    }
}
