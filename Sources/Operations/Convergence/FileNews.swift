// What agents make of the inventory files put on their hosts, as `covey status` shows it.

import Foundations
import JSON
import PKI
import Wire

enum FileNews {
    /// A line for each thing told, with the hosts that tell it. What is in effect is no news.
    static func lines(_ seen: [String: AgentPB.ObserveResponse]) -> [String] {
        var hosts: [String: [String]] = [:]
        for (host, agent) in seen.sorted(by: { $0.key < $1.key }) {
            guard let file = agent.file else { continue }
            let text = file.problem.isEmpty ? file.news : "not used: \(file.problem)"
            guard !text.isEmpty, !text.hasPrefix(ConvergenceNews.inEffect) else { continue }
            hosts["\(file.path) \(text)", default: []].append(host)
        }
        return hosts.map { "\($0.value.joined(separator: ", ")): \($0.key)" }.sorted()
    }

    /// As the agent leaves it on its host; nil when it left nothing, or nothing new.
    static func left(in folder: String) -> String? {
        guard let bytes = try? KeyFile.read(folder + "/convergence.json").bytes, let json = try? JSONValue(parsing: bytes),
            let file = json["file"]?.string, let news = json["news"]?.string,
            !news.isEmpty && !news.hasPrefix(ConvergenceNews.inEffect)
        else { return nil }
        return "\(file): \(news)"
    }
}
