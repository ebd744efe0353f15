// The part of protoc's file descriptors that the generator uses, as values.

struct ProtoFile {
    var name = ""
    var package = ""
    var syntax = "proto2"
    var messages: [ProtoMessage] = []
    var enums: [ProtoEnum] = []
    var services: [ProtoService] = []
}

struct ProtoMessage {
    var name = ""
    var fields: [ProtoField] = []
    var oneofs: [String] = []
    var messages: [ProtoMessage] = []
    var enums: [ProtoEnum] = []
    /// The comment above it, without markers.
    var comment: [String] = []
    var wantsView = false
}

struct ProtoField {
    enum Label: Int { case optional = 1, required, repeated }
    var name = ""
    var number = 0
    var label = Label.optional
    var type = 0
    /// Of a message or enum: `.package.Name`.
    var typeName = ""
    var oneof: Int?
    var packed: Bool?
}

struct ProtoEnum {
    var name = ""
    var values: [(name: String, number: Int)] = []
}

struct ProtoService {
    var name = ""
    var methods: [ProtoMethod] = []
}

struct ProtoMethod {
    var name = ""
    var request = ""
    var response = ""
    var clientStreams = false
    var serverStreams = false
}

struct GeneratorRequest {
    var wanted: [String] = []
    var files: [ProtoFile] = []

    init(_ bytes: [UInt8]) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes[...]) {
            switch number {
            case 1: wanted.append(value.text)
            case 15: files.append(try ProtoFile(value.bytes))
            default: break
            }
        }
    }
}

extension ProtoFile {
    init(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes) {
            switch number {
            case 1: name = value.text
            case 2: package = value.text
            case 4: messages.append(try ProtoMessage(value.bytes))
            case 5: enums.append(try ProtoEnum(value.bytes))
            case 6: services.append(try ProtoService(value.bytes))
            case 9: try readComments(value.bytes)
            case 12: syntax = value.text
            default: break
            }
        }
    }

    /// Comments come by path: [4, i] is the file's message i. They follow the messages in the descriptor.
    private mutating func readComments(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, location) in try tinyFields(bytes) where number == 1 {
            var path: [UInt64] = []
            var comment = ""
            for (number, value) in try tinyFields(location.bytes) {
                if number == 3 { comment = value.text }
                guard number == 1 else { continue }
                var rest = value.bytes
                while !rest.isEmpty { path.append(try tinyVarint(&rest)) }
            }
            guard path.count == 2, path[0] == 4, !comment.isEmpty else { continue }
            let lines = comment.split(separator: "\n").map { line in
                line.first == " " ? String(line.dropFirst()) : String(line)
            }
            let index = Int(path[1])
            messages[index].wantsView = lines.contains("@view")
            messages[index].comment = lines.filter { !$0.hasPrefix("@") }
        }
    }
}

extension ProtoMessage {
    init(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes) {
            switch number {
            case 1: name = value.text
            case 2: fields.append(try ProtoField(value.bytes))
            case 3: messages.append(try ProtoMessage(value.bytes))
            case 4: enums.append(try ProtoEnum(value.bytes))
            case 8: oneofs.append(try tinyFields(value.bytes).first { $0.number == 1 }?.value.text ?? "")
            default: break
            }
        }
        guard messages.isEmpty else { throw BadRequest("\(name): nested messages and maps are not supported") }
        fields.sort { $0.number < $1.number }
    }
}

extension ProtoField {
    init(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes) {
            switch number {
            case 1: name = value.text
            case 3: self.number = value.int
            case 4: label = Label(rawValue: value.int) ?? .optional
            case 5: type = value.int
            case 6: typeName = value.text
            case 8: packed = try tinyFields(value.bytes).first { $0.number == 2 }.map { $0.value.int != 0 }
            case 9: oneof = value.int
            case 17: throw BadRequest("\(name): proto3 optional is not supported")
            default: break
            }
        }
    }
}

extension ProtoEnum {
    init(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes) {
            if number == 1 { name = value.text }
            guard number == 2 else { continue }
            var entry = (name: "", number: 0)
            for (number, part) in try tinyFields(value.bytes) {
                if number == 1 { entry.name = part.text }
                if number == 2 { entry.number = part.int }
            }
            values.append(entry)
        }
    }
}

extension ProtoService {
    init(_ bytes: ArraySlice<UInt8>) throws(BadRequest) {
        for (number, value) in try tinyFields(bytes) {
            if number == 1 { name = value.text }
            guard number == 2 else { continue }
            var method = ProtoMethod()
            for (number, part) in try tinyFields(value.bytes) {
                switch number {
                case 1: method.name = part.text
                case 2: method.request = part.text
                case 3: method.response = part.text
                case 5: method.clientStreams = part.int != 0
                case 6: method.serverStreams = part.int != 0
                default: break
                }
            }
            methods.append(method)
        }
    }
}
