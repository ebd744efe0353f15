// One message as a Swift struct: fields, the two initialisers, merge, encode, descriptor.

/// How a field's values look in Swift.
enum FieldKind {
    case scalar(swift: String, descriptor: String, zero: String)
    case text
    case bytes
    case enumeration(String)
    case message(String)

    init(_ field: ProtoField, _ packages: [String]) throws(BadRequest) {
        switch field.type {
        case 3: self = .scalar(swift: "Int64", descriptor: "int64", zero: "0")
        case 4: self = .scalar(swift: "UInt64", descriptor: "uint64", zero: "0")
        case 5: self = .scalar(swift: "Int32", descriptor: "int32", zero: "0")
        case 8: self = .scalar(swift: "Bool", descriptor: "bool", zero: "false")
        case 9: self = .text
        case 11: self = .message(Names.type(field.typeName, in: packages))
        case 12: self = .bytes
        case 13: self = .scalar(swift: "UInt32", descriptor: "uint32", zero: "0")
        case 14: self = .enumeration(Names.type(field.typeName, in: packages))
        default: throw BadRequest("\(field.name): field type \(field.type) is not supported")
        }
    }

    var swift: String {
        switch self {
        case .scalar(let swift, _, _): swift
        case .text: "String"
        case .bytes: "Bytes"
        case .enumeration(let name), .message(let name): name
        }
    }

    var zero: String {
        switch self {
        case .scalar(_, _, let zero): zero
        case .text: "\"\""
        case .bytes: "[]"
        case .enumeration(let name): "\(name)(rawValue: 0)"
        case .message(let name): "\(name)()"
        }
    }

    var descriptor: String {
        switch self {
        case .scalar(_, let descriptor, _): ".\(descriptor)"
        case .text: ".string"
        case .bytes: ".bytes"
        case .enumeration(let name): ".enumeration(\(name).descriptor)"
        case .message(let name): ".message({ \(name).descriptor })"
        }
    }

    var isMessage: Bool { if case .message = self { true } else { false } }
    var isNumeric: Bool {
        switch self {
        case .scalar, .enumeration: true
        case .text, .bytes, .message: false
        }
    }
}

/// When a field is written.
enum FieldPresence: String {
    case implicit, explicit, required, repeated, packed
}

struct EmittedField {
    var proto: ProtoField
    var name: String
    var kind: FieldKind
    var presence: FieldPresence

    /// The stored property's type and first value. Members of a oneof have none.
    var type: String {
        switch presence {
        case .implicit, .required: kind.swift
        case .explicit: kind.swift + "?"
        case .repeated, .packed: "[\(kind.swift)]"
        }
    }
    var initial: String {
        switch presence {
        case .implicit, .required: kind.zero
        case .explicit: "nil"
        case .repeated, .packed: "[]"
        }
    }

    /// The line that writes it.
    var writing: String {
        switch presence {
        case .required: "writer.required(\(proto.number), \(name))"
        case .packed: "writer.packed(\(proto.number), \(name))"
        case .repeated where kind.isNumeric: "writer.unpacked(\(proto.number), \(name))"
        case .implicit, .explicit, .repeated: "writer.field(\(proto.number), \(name))"
        }
    }
}

struct MessageEmitter {
    let message: ProtoMessage
    let fullName: String
    let fields: [EmittedField]

    init(_ message: ProtoMessage, package: String, isProto2: Bool, packages: [String]) throws(BadRequest) {
        self.message = message
        fullName = "\(package).\(message.name)"
        var fields: [EmittedField] = []
        for proto in message.fields {
            let kind = try FieldKind(proto, packages)
            let presence: FieldPresence
            switch proto.label {
            case .required: presence = .required
            case .repeated: presence = kind.isNumeric && (proto.packed ?? !isProto2) ? .packed : .repeated
            case .optional:
                presence = isProto2 || kind.isMessage || proto.oneof != nil ? .explicit : .implicit
            }
            fields.append(EmittedField(proto: proto, name: Names.member(proto.name), kind: kind, presence: presence))
        }
        self.fields = fields
    }

    /// The properties in field order; a oneof stands where its first member does.
    private enum Property {
        case field(EmittedField)
        case oneof(String, [EmittedField])

        var name: String {
            switch self {
            case .field(let field): field.name
            case .oneof(let name, _): Names.member(name)
            }
        }
        var declaration: (type: String, initial: String) {
            switch self {
            case .field(let field): (field.type, field.initial)
            case .oneof(let name, _): (MessageEmitter.oneofType(name) + "?", "nil")
            }
        }
    }

    static func oneofType(_ name: String) -> String { Names.upperFirst(Names.member(name)) }

    private var properties: [Property] {
        var properties: [Property] = []
        for field in fields {
            guard let oneof = field.proto.oneof else {
                properties.append(.field(field))
                continue
            }
            let members = fields.filter { $0.proto.oneof == oneof }
            if members[0].proto.number == field.proto.number {
                properties.append(.oneof(message.oneofs[oneof], members))
            }
        }
        return properties
    }

    func emit(_ out: inout Lines) {
        for line in message.comment { out.add("/// \(line)") }
        out.open("package struct \(message.name): WireMessage {")
        for value in message.enums { enumeration(value, full: ".\(fullName).\(value.name)", &out) }
        emitProperties(&out)
        emitMerge(&out)
        emitEncode(&out)
        emitDescriptor(&out)
        out.close("}")
        out.add("")
    }

    private func emitProperties(_ out: inout Lines) {
        for case .oneof(let name, let members) in properties {
            out.open("package enum \(MessageEmitter.oneofType(name)): Sendable, Equatable {")
            for member in members { out.add("case \(member.name)(\(member.kind.swift))") }
            out.close("}")
            out.add("")
        }
        for property in properties {
            let (type, initial) = property.declaration
            out.add("package var \(property.name): \(type) = \(initial)")
        }
        if !properties.isEmpty { out.add("") }
        out.add("package init() {}")
        if properties.isEmpty { return }
        out.open("package init(")
        let parameters = properties.map { "\($0.name): \($0.declaration.type) = \($0.declaration.initial)" }
        out.add(parameters.joined(separator: ", "))
        out.depth -= 1
        out.open(") {")
        for property in properties { out.add("self.\(property.name) = \(property.name)") }
        out.close("}")
    }

    private func emitMerge(_ out: inout Lines) {
        out.add("")
        out.open("package mutating func merge(from reader: inout WireReader) throws(WireError) {")
        if fields.isEmpty {
            out.add("while try reader.nextField() != nil { try reader.skip() }")
            out.close("}")
            return
        }
        out.open("while let field = try reader.nextField() {")
        out.add("switch field {")
        for field in fields {
            guard let oneof = field.proto.oneof else {
                out.add("case \(field.proto.number): try reader.read(&\(field.name))")
                continue
            }
            let property = Names.member(message.oneofs[oneof])
            out.open("case \(field.proto.number):")
            out.add("var value: \(field.kind.swift) = \(field.kind.zero)")
            // A message named twice is merged, as outside of a oneof.
            if field.kind.isMessage {
                out.add("if case .\(field.name)(let earlier)? = \(property) { value = earlier }")
            }
            out.add("try reader.read(&value)")
            out.add("\(property) = .\(field.name)(value)")
            out.depth -= 1
        }
        out.add("default: try reader.skip()")
        out.add("}")
        out.close("}")
        out.close("}")
    }

    private func emitEncode(_ out: inout Lines) {
        out.add("")
        if fields.isEmpty {
            out.add("package func encode(into writer: inout WireWriter) {}")
            return
        }
        out.open("package func encode(into writer: inout WireWriter) {")
        var i = fields.count - 1
        while i >= 0 {
            let field = fields[i]
            guard let oneof = field.proto.oneof else {
                out.add(field.writing)
                i -= 1
                continue
            }
            // The members of a oneof that stand together in field order are one switch.
            var run: [EmittedField] = []
            while i >= 0, fields[i].proto.oneof == oneof {
                run.append(fields[i])
                i -= 1
            }
            let all = fields.filter { $0.proto.oneof == oneof }.count
            out.add("switch \(Names.member(message.oneofs[oneof])) {")
            for member in run.reversed() {
                out.add("case .\(member.name)(let value)?: writer.required(\(member.proto.number), value)")
            }
            out.add(run.count == all ? "case nil: break" : "default: break")
            out.add("}")
        }
        out.close("}")
    }

    private func emitDescriptor(_ out: inout Lines) {
        out.add("")
        let oneofs = message.oneofs.map { "\"\($0)\"" }.joined(separator: ", ")
        out.open("package static let descriptor: MessageDescriptor = MessageDescriptor(")
        let head = "\"\(fullName)\"" + (oneofs.isEmpty ? "" : ", oneofs: [\(oneofs)]")
        if fields.isEmpty {
            out.add("\(head), [])")
            out.depth -= 1
            return
        }
        out.open("\(head), [")
        for field in fields {
            var arguments = "\(field.proto.number), \"\(field.proto.name)\", \(field.kind.descriptor)"
            if field.presence != .implicit { arguments += ", .\(field.presence.rawValue)" }
            if let oneof = field.proto.oneof { arguments += ", oneof: \(oneof)" }
            out.add("FieldDescriptor(\(arguments)),")
        }
        out.close("])")
        out.depth -= 1
    }
}
