// Which function a command is.

import Flags
import Foundations

enum CtlCommands {
    static func run(_ invocation: Invocation) async throws(CtlFailure) {
        switch invocation.parsed.name {
        case "put": try await KeyCommands.put(invocation)
        case "get": try await KeyCommands.get(invocation)
        case "del": try await KeyCommands.delete(invocation)
        case "txn": try await KeyCommands.transaction(invocation)
        case "compaction": try await KeyCommands.compact(invocation)
        case "watch": try await WatchCommand.run(invocation)

        case "lease grant": try await LeaseCommands.grant(invocation)
        case "lease revoke": try await LeaseCommands.revoke(invocation)
        case "lease timetolive": try await LeaseCommands.timeToLive(invocation)
        case "lease list": try await LeaseCommands.list(invocation)
        case "lease keep-alive": try await LeaseCommands.keepAlive(invocation)
        case "lock": try await LockCommand.run(invocation)
        case "elect": try await ElectCommand.run(invocation)

        case "member add": try await MemberCommands.add(invocation)
        case "member remove": try await MemberCommands.remove(invocation)
        case "member update": try await MemberCommands.update(invocation)
        case "member promote": try await MemberCommands.promote(invocation)
        case "member list": try await MemberCommands.list(invocation)
        case "endpoint health": try await EndpointCommands.health(invocation)
        case "endpoint status": try await EndpointCommands.status(invocation)
        case "endpoint hashkv": try await EndpointCommands.hashKV(invocation)
        case "move-leader": try await MaintenanceCommands.moveLeader(invocation)
        case "alarm list": try await MaintenanceCommands.listAlarms(invocation)
        case "alarm disarm": try await MaintenanceCommands.disarmAlarms(invocation)
        case "defrag": try await MaintenanceCommands.defragment(invocation)
        case "downgrade validate": try await MaintenanceCommands.downgrade(invocation, "validate", .validate)
        case "downgrade enable": try await MaintenanceCommands.downgrade(invocation, "enable", .enable)
        case "downgrade cancel": try await MaintenanceCommands.downgrade(invocation, "cancel", .cancel)
        case "snapshot save": try await SnapshotCommands.save(invocation)
        case "snapshot status": try SnapshotCommands.status(invocation)
        case "snapshot restore": try SnapshotCommands.restore(invocation)
        case "make-mirror": try await MirrorCommand.run(invocation)

        case "auth enable": try await AuthCommands.enable(invocation)
        case "auth disable": try await AuthCommands.disable(invocation)
        case "auth status": try await AuthCommands.status(invocation)
        case "user add": try await UserCommands.add(invocation)
        case "user delete": try await UserCommands.delete(invocation)
        case "user get": try await UserCommands.get(invocation)
        case "user list": try await UserCommands.list(invocation)
        case "user passwd": try await UserCommands.changePassword(invocation)
        case "user grant-role": try await UserCommands.grantRole(invocation)
        case "user revoke-role": try await UserCommands.revokeRole(invocation)
        case "role add": try await RoleCommands.add(invocation)
        case "role delete": try await RoleCommands.delete(invocation)
        case "role get": try await RoleCommands.get(invocation)
        case "role list": try await RoleCommands.list(invocation)
        case "role grant-permission": try await RoleCommands.grantPermission(invocation)
        case "role revoke-permission": try await RoleCommands.revokePermission(invocation)

        case "check perf": try await CheckPerformance.run(invocation)
        case "check datascale": try await CheckDataScale.run(invocation)
        case "version": ToolCommands.version(invocation)
        case "completion": try ToolCommands.completion(invocation)
        case let name: unreachable("no function for the command \(name)")
        }
    }
}
