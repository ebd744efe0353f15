// `covey server`: from the words of a command line to a serving member and back to a stopped one. The exit code says how it
// ended: 0 by itself, 1 when it could not start or must not go on, 2 for words that are no flags; after a signal the
// process ends by that signal.

import Flags
import Foundations
import Glibc
import Linux
import Telemetry

package enum ServerProgram {
    /// For manual pages and completion.
    package static var options: [Option] { ServerOptions.all }
    package static func manual(_ name: String) -> String { ServerCommandLine.manual(name) }

    package static func run(_ words: [String], calledAs program: String) -> Int32 {
        let outcome = ServerCommandLine.read(
            words, program: program, environment: EnvironmentVariables(lines: Process.environment()), file: Process.read)
        switch outcome {
        case .print(let text):
            Process.write(text, to: STDOUT_FILENO)
            return 0
        case .usageError(let text):
            Process.write(text, to: STDERR_FILENO)
            return 2
        case .plainError(let text):
            Process.write(text + "\n", to: STDERR_FILENO)
            return 1
        case .refused(let notices):
            let logger = (try? LogSettings().open()) ?? .silent
            for notice in notices { logger.log(notice.level, notice.message, list: notice.fields) }
            return 1
        case .other("gateway", let words): return GatewayCommand.run(["gateway"] + words, calledAs: program)
        case .other("grpc-proxy", let words): return GRPCProxyCommand.run(["grpc-proxy"] + words, calledAs: program)
        case .other(let name, _):
            complain(
                "covey: \"\(name)\" is not part of this server; let clients connect to the members, "
                    + "or through `gateway start`, which passes connections on as they are")
            return 1
        case .start(let configuration, _, let notices):
            return start(configuration, notices, words)
        }
    }

    /// A line on stderr.
    package static func complain(_ text: String) { Process.write(text + "\n", to: STDERR_FILENO) }

    private static func start(
        _ configuration: ServerConfiguration, _ notices: [ServerCommandLine.Notice], _ words: [String]
    ) -> Int32 {
        let logger: Logger
        do throws(SystemError) { logger = try configuration.log.open() } catch {
            Process.write("cannot open the log: \(error)\n", to: STDERR_FILENO)
            return 1
        }
        for notice in notices { logger.log(notice.level, notice.message, list: notice.fields) }
        do throws(ConfigurationError) { try configuration.verifyStart() } catch {
            logger.warn("failed to start etcd", ["error": .error(error)])
            logger.log(.fatal, "discovery failed", list: [("error", .error(error))])
            return 1
        }
        if let side = configuration.sideWithoutValidity {
            let error = "selfSignedCertValidity is invalid,it should be greater than 0"
            logger.warn("cannot generate cert", ["error": .text(error)])
            logger.log(.fatal, "failed to get \(side) self-signed certs", list: [("error", .text(error))])
            return 1
        }
        do throws(FailpointSyntax) {
            if let text = Process.variable("COVEY_FAILPOINTS") { try Failpoint.arm(text) }
        } catch {
            logger.error("failed to start", ["error": .text("COVEY_FAILPOINTS: \(error)")])
            return 1
        }
        let loop: EventLoop
        do throws(SystemError) { loop = try EventLoop() } catch {
            logger.error("failed to start", ["error": .error(error)])
            return 1
        }
        let running = RunningServer(configuration, loop, logger, arguments: CommandLine.arguments)
        guard running.start() else { return 1 }
        loop.run()
        if let signal = running.endedBySignal, getpid() != 1 { Process.endBy(signal) }
        return running.exitCode
    }
}
