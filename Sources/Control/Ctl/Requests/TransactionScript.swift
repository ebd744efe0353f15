// What `txn` reads: comparisons, a blank line, what to do when all hold, a blank line, what to do otherwise, a blank line.
//
//     value("foo") = "bar"
//
//     put foo "new value"
//
//     get foo
//

import Flags
import Foundations
import Wire

package struct TransactionScript {
    /// The next line without its end; nil at the end of the input.
    package var nextLine: () -> String?
    /// Called before each part when a person types.
    package var prompt: ((String) -> Void)?

    package init(nextLine: @escaping () -> String?, prompt: ((String) -> Void)? = nil) {
        self.nextLine = nextLine
        self.prompt = prompt
    }

    package func read() throws(CtlFailure) -> TxnRequest {
        var request = TxnRequest()
        prompt?("compares:")
        request.compare = try part(TransactionScript.comparison)
        prompt?("success requests (get, put, del):")
        request.success = try part(TransactionScript.operation)
        prompt?("failure requests (get, put, del):")
        request.failure = try part(TransactionScript.operation)
        return request
    }

    private func part<Item>(_ parse: (String) throws(CtlFailure) -> Item) throws(CtlFailure) -> [Item] {
        var items: [Item] = []
        while true {
            guard let line = nextLine() else { throw CtlFailure(.badInput, "EOF") }
            let trimmed = TransactionScript.trimmed(line)
            if trimmed.isEmpty { return items }
            items.append(try parse(trimmed))
        }
    }

    private static func trimmed(_ line: String) -> String {
        var text = Substring(line)
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }

    // MARK: Comparisons

    /// `mod("key") > "5"`
    package static func comparison(_ line: String) throws(CtlFailure) -> Compare {
        guard let parenthesis = line.firstIndex(of: "(") else {
            throw CtlFailure(.badInput, "malformed comparison: \(line)")
        }
        let target = line[..<parenthesis]
        var text = ScannedText(line[line.index(after: parenthesis)...])
        func malformed(_ key: Bytes, _ sign: Substring) -> CtlFailure {
            let understood = "\(target)(\(GoText.quote(key))) \(sign) \"\""
            return CtlFailure(.badInput, "malformed comparison: \(line); got \(understood)")
        }
        guard let key = text.quoted() else { throw malformed([], "") }
        guard text.take(")"), text.rest.first?.isWhitespace == true else { throw malformed(key, "") }
        text.skipBlanks()
        let sign = text.word()
        text.skipBlanks()
        guard let operand = text.quoted() else { throw malformed(key, sign) }
        var compare = Compare()
        compare.key = key
        switch sign {
        case "=": compare.result = .equal
        case "!=": compare.result = .notEqual
        case "<": compare.result = .less
        case ">": compare.result = .greater
        default: throw CtlFailure(.badInput, "malformed comparison: \(line) (unknown operator \(sign))")
        }
        func number(_ base: Int) throws(CtlFailure) -> Int64 {
            do { return try GoText.parseInt(String(decoding: operand, as: UTF8.self), base: base) } catch {
                throw CtlFailure(.badInput, "invalid txn compare request: \(line)")
            }
        }
        switch target {
        case "ver", "version": (compare.target, compare.targetUnion) = (.version, .version(try number(10)))
        case "c", "create": (compare.target, compare.targetUnion) = (.create, .createRevision(try number(10)))
        case "m", "mod": (compare.target, compare.targetUnion) = (.mod, .modRevision(try number(10)))
        case "val", "value": (compare.target, compare.targetUnion) = (.value, .value(operand))
        case "lease": (compare.target, compare.targetUnion) = (.lease, .lease(try number(16)))
        default: throw CtlFailure(.badInput, "malformed comparison: \(line) (unknown target \(target))")
        }
        return compare
    }

    // MARK: Operations

    private static let parser: CommandLineParser = {
        var root = Command("txn")
        root.commands = [CtlCommandTree.put, CtlCommandTree.get(hidingNew: true), CtlCommandTree.delete(hidingNew: true)]
        root.runnable = false
        return CommandLineParser(root, prefixMatching: true)
    }()

    /// `put key "value" --lease=12ab`
    package static func operation(_ line: String) throws(CtlFailure) -> RequestOp {
        let words = try ShellWords.split(line)
        guard words.count >= 2 else { throw CtlFailure(.badInput, "invalid txn compare request: \(line)") }
        let result: CommandLineResult
        do { result = try parser.parse(words) } catch { throw CtlFailure(.badInput, "invalid txn request: \(line)") }
        guard case .run(let command) = result else { throw CtlFailure(.badInput, "invalid txn request: \(line)") }
        var operation = RequestOp()
        switch command.name {
        case "put": operation.request = .requestPut(try KeyArguments.put(command.words, command.values, input: nil))
        case "get": operation.request = .requestRange(try KeyArguments.get(command.words, command.values))
        case "del": operation.request = .requestDeleteRange(try KeyArguments.delete(command.words, command.values))
        default: throw CtlFailure(.badInput, "invalid txn request: \(line)")
        }
        return operation
    }
}
