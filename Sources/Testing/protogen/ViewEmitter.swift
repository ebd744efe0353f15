// The borrowed view of a message marked `@view`: numbers are read, payloads stay where they are. Decoding a view
// allocates nothing and copies nothing.

struct ViewEmitter {
    private let source: MessageEmitter

    init(_ source: MessageEmitter) throws(BadRequest) {
        self.source = source
        for field in source.fields where field.kind.isNumeric {
            if field.presence == .repeated || field.presence == .packed {
                throw BadRequest("\(source.fullName): a view has no lists of numbers")
            }
        }
    }

    func emit(_ out: inout Lines) {
        out.add("/// \(source.message.name), borrowed from its bytes.")
        out.open("package struct \(source.message.name)View: ~Escapable {")
        for field in source.fields {
            out.add("package var \(field.name): \(type(field))")
            if hasFlag(field) { out.add("package var \(flag(field)) = false") }
        }
        for name in source.message.oneofs {
            out.add("/// Number of the member that is set, 0 for none.")
            out.add("package var \(Names.member(name))Field: UInt32 = 0")
        }
        out.add("")
        out.add("@_lifetime(copy bytes)")
        out.open("package init(decoding bytes: RawSpan) throws(WireError) {")
        for field in source.fields { out.add("\(field.name) = \(initial(field))") }
        out.add("var reader = WireReader(bytes)")
        out.open("while let field = try reader.nextFieldInline() {")
        out.add("switch field {")
        for field in source.fields { emitCase(field, &out) }
        out.add("default: try reader.skip()")
        out.add("}")
        out.close("}")
        out.close("}")
        out.close("}")
        out.add("")
    }

    private func isList(_ field: EmittedField) -> Bool { field.presence == .repeated }

    private func type(_ field: EmittedField) -> String {
        if isList(field) { return "RepeatedPayloads" }
        return field.kind.isNumeric ? field.kind.swift : "RawSpan"
    }

    /// Payloads that may be absent have a flag beside them; the payload is empty then.
    private func hasFlag(_ field: EmittedField) -> Bool { field.presence == .explicit && field.proto.oneof == nil }
    private func flag(_ field: EmittedField) -> String { "has" + Names.upperFirst(field.name) }

    private func initial(_ field: EmittedField) -> String {
        if isList(field) { return "RepeatedPayloads(bytes, field: \(field.proto.number))" }
        if field.kind.isNumeric { return field.kind.zero }
        return "bytes.extracting(first: 0)"
    }

    private func emitCase(_ field: EmittedField, _ out: inout Lines) {
        let reading =
            if isList(field) {
                "try \(field.name).met(&reader)"
            } else if field.kind.isNumeric {
                "try reader.read(&\(field.name))"
            } else {
                "\(field.name) = try reader.borrowInline()"
            }
        let oneof = field.proto.oneof
        guard oneof != nil || hasFlag(field) else {
            out.add("case \(field.proto.number): \(reading)")
            return
        }
        out.open("case \(field.proto.number):")
        out.add(reading)
        if let oneof {
            out.add("\(Names.member(source.message.oneofs[oneof]))Field = \(field.proto.number)")
        } else {
            out.add("\(flag(field)) = true")
        }
        out.depth -= 1
    }
}
