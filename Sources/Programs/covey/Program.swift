import Foundations
import Glibc
import Server

@main enum Program {
    static func main() {
        var settings = ServerSettings()
        var arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "server" { arguments = arguments.dropFirst() }
        var i = arguments.startIndex
        while i < arguments.endIndex {
            let argument = arguments[i]
            i += 1
            let name = argument.drop { $0 == "-" }
            let parts = name.split(separator: "=", maxSplits: 1)
            let key = String(parts[0])
            var value = parts.count > 1 ? String(parts[1]) : ""
            if parts.count == 1, i < arguments.endIndex { value = arguments[i]; i += 1 }
            switch key {
            case "name": settings.member.name = value
            case "data-dir": settings.member.dataDirectory = value
            case "listen-client-urls": settings.clientURLs = value.split(separator: ",").map(String.init)
            case "advertise-client-urls": settings.advertiseClientURLs = value.split(separator: ",").map(String.init)
            case "initial-cluster":
                settings.initialCluster = value.split(separator: ",").map { item in
                    let pair = item.split(separator: "=", maxSplits: 1)
                    return (String(pair[0]), [String(pair[1])])
                }
            case "quota-backend-bytes": settings.member.quotaBytes = Int(value)
            case "snapshot-count": settings.member.snapshotCount = UInt64(value) ?? 10_000
            case "bcrypt-cost": settings.bcryptCost = Int(value) ?? 10
            case "cors": settings.http.origins = value.split(separator: ",").map(String.init)
            case "experimental-watch-progress-notify-interval": settings.member.progressInterval = 500_000_000
            default: break
            }
        }
        let code = ServerProgram.run(settings) { message, fields in
            print(message, fields.map { "\($0.0)=\($0.1)" }.joined(separator: " "))
        }
        exit(code)
    }
}
