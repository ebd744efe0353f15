// A YAML document as a tree that remembers where everything stood, so that an error can point to the line. JSON is YAML
// too. Aliases are copied in; depth and size are bounded, because a small file of aliases can describe an enormous tree.

import CYAML
import Foundations

package struct YAMLNode: Sendable {
    package indirect enum Content: Sendable {
        /// `plain`: without quotes, so that it may be a number, a boolean or null.
        case scalar(String, plain: Bool)
        case sequence([YAMLNode])
        case mapping([(key: YAMLNode, value: YAMLNode)])
    }

    package static let depthMax = 64
    package static let nodesMax = 100_000

    package var content: Content
    /// From 1.
    package var line: Int
    package var column: Int

    package init(_ content: Content, line: Int = 1, column: Int = 1) {
        self.content = content
        self.line = line
        self.column = column
    }

    /// Nil for an empty document.
    package static func parse(_ bytes: Bytes) throws(YAMLError) -> YAMLNode? {
        var parser = unsafe yaml_parser_t()
        guard unsafe yaml_parser_initialize(&parser) == 1 else { throw YAMLError(line: 0, problem: "out of memory") }
        defer { unsafe yaml_parser_delete(&parser) }
        // The parser reads from this buffer until it is deleted.
        let result: Result<YAMLNode?, YAMLError> = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
            do throws(YAMLError) { return .success(unsafe try load(&parser)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// What a plain scalar means: `null`, a boolean, a number, or text.
    package enum Scalar: Equatable, Sendable {
        case null
        case bool(Bool)
        /// As written.
        case number(String)
        case text(String)
    }

    package var scalar: Scalar? {
        guard case .scalar(let text, let plain) = content else { return nil }
        return plain ? YAMLNode.resolve(text) : .text(text)
    }

    package subscript(_ key: String) -> YAMLNode? {
        guard case .mapping(let entries) = content else { return nil }
        return entries.first { if case .scalar(key, _) = $0.key.content { true } else { false } }?.value
    }

    /// YAML 1.1, as etcd's reader has it: `y`, `yes`, `on` are booleans.
    private static func resolve(_ text: String) -> Scalar {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON": return .bool(true)
        case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF": return .bool(false)
        default: return isNumber(text) ? .number(text) : .text(text)
        }
    }

    private static func isNumber(_ text: String) -> Bool {
        let body = text.first == "-" || text.first == "+" ? text.dropFirst() : text[...]
        guard let first = body.first, first.isASCII, first.isNumber || first == "." else { return false }
        return Double(body) != nil || (body.hasPrefix("0x") && UInt64(body.dropFirst(2), radix: 16) != nil)
            || (body.hasPrefix("0o") && UInt64(body.dropFirst(2), radix: 8) != nil)
    }

    // MARK: libyaml

    private static func load(_ parser: inout yaml_parser_t) throws(YAMLError) -> YAMLNode? {
        var document = unsafe yaml_document_t()
        guard unsafe yaml_parser_load(&parser, &document) == 1 else { throw unsafe damage(parser) }
        defer { unsafe yaml_document_delete(&document) }
        guard let root = unsafe yaml_document_get_root_node(&document) else { return nil }
        var budget = nodesMax
        return unsafe try build(root, &document, depth: 0, budget: &budget)
    }

    private static func build(
        _ node: UnsafeMutablePointer<yaml_node_t>, _ document: inout yaml_document_t, depth: Int, budget: inout Int
    ) throws(YAMLError) -> YAMLNode {
        let line = unsafe Int(node.pointee.start_mark.line) + 1
        let column = unsafe Int(node.pointee.start_mark.column) + 1
        budget -= 1
        if budget < 0 || depth > depthMax { throw YAMLError(line: line, problem: "document is too large or too deep") }
        let content: Content
        switch unsafe node.pointee.type {
        case YAML_SCALAR_NODE:
            let scalar = unsafe node.pointee.data.scalar
            let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            content = unsafe .scalar(
                String(decoding: bytes, as: UTF8.self), plain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_SEQUENCE_NODE:
            var items: [YAMLNode] = []
            var item = unsafe node.pointee.data.sequence.items.start
            while let current = unsafe item, unsafe current < node.pointee.data.sequence.items.top {
                items.append(unsafe try child(current.pointee, &document, depth, &budget))
                unsafe item = current + 1
            }
            content = .sequence(items)
        case YAML_MAPPING_NODE:
            var entries: [(key: YAMLNode, value: YAMLNode)] = []
            var pair = unsafe node.pointee.data.mapping.pairs.start
            while let current = unsafe pair, unsafe current < node.pointee.data.mapping.pairs.top {
                let key = unsafe try child(current.pointee.key, &document, depth, &budget)
                let value = unsafe try child(current.pointee.value, &document, depth, &budget)
                entries.append((key, value))
                unsafe pair = current + 1
            }
            content = .mapping(entries)
        default: throw YAMLError(line: line, problem: "unknown kind of node")
        }
        return YAMLNode(content, line: line, column: column)
    }

    private static func child(
        _ index: Int32, _ document: inout yaml_document_t, _ depth: Int, _ budget: inout Int
    ) throws(YAMLError) -> YAMLNode {
        guard let node = unsafe yaml_document_get_node(&document, index) else {
            throw YAMLError(line: 0, problem: "a node is missing")
        }
        return unsafe try build(node, &document, depth: depth + 1, budget: &budget)
    }

    private static func damage(_ parser: yaml_parser_t) -> YAMLError {
        let problem = unsafe parser.problem.map { unsafe String(cString: $0) } ?? "unknown problem"
        return unsafe YAMLError(line: Int(parser.problem_mark.line) + 1, problem: problem)
    }
}

package struct YAMLError: Error, Equatable, Sendable, CustomStringConvertible {
    package var line: Int
    package var problem: String

    package init(line: Int, problem: String) {
        self.line = line
        self.problem = problem
    }

    package var description: String { "yaml: line \(line): \(problem)" }
}
