// What a message looks like, as data: field names, numbers and types. JSON transcoding and printing are driven by these
// tables, so there is no code per message for them.

import Foundations

package final class MessageDescriptor: Sendable {
    /// With its package: `etcdserverpb.PutRequest`.
    package let name: String
    /// By ascending number.
    package let fields: [FieldDescriptor]
    /// Proto names of the oneofs; `FieldDescriptor.oneof` points here.
    package let oneofs: [String]

    package init(_ name: String, oneofs: [String] = [], _ fields: [FieldDescriptor]) {
        self.name = name
        self.oneofs = oneofs
        self.fields = fields
    }

    package func field(number: UInt32) -> FieldDescriptor? {
        fields.first { $0.number == number }
    }

    /// Finds a field by its proto name or its lowerCamelCase name.
    package func field(named name: String) -> FieldDescriptor? {
        fields.first { $0.name == name || $0.jsonName == name }
    }
}

package struct FieldDescriptor: Sendable {
    package enum Kind: Sendable {
        case bool, int32, int64, uint32, uint64, string, bytes
        case enumeration(EnumDescriptor)
        /// A closure, because messages contain themselves.
        case message(@Sendable () -> MessageDescriptor)
    }

    package enum Label: Sendable {
        /// Left out when zero or empty.
        case implicit
        /// Written when set, whatever the value: messages, members of a oneof, proto2 optional.
        case explicit
        /// Written always.
        case required
        case repeated
        case packed
    }

    package let number: UInt32
    package let name: String
    package let jsonName: String
    package let kind: Kind
    package let label: Label
    /// Index into `MessageDescriptor.oneofs`.
    package let oneof: Int?

    package init(_ number: UInt32, _ name: String, _ kind: Kind, _ label: Label = .implicit, oneof: Int? = nil) {
        self.number = number
        self.name = name
        self.jsonName = FieldDescriptor.lowerCamelCase(name)
        self.kind = kind
        self.label = label
        self.oneof = oneof
    }

    package var isRepeated: Bool {
        switch label {
        case .repeated, .packed: true
        case .implicit, .explicit, .required: false
        }
    }

    /// `range_end` -> `rangeEnd`, `remaining_TTL` -> `remainingTTL`, `peerURLs` as it is.
    static func lowerCamelCase(_ name: String) -> String {
        var text = ""
        var raise = false
        for character in name.utf8 {
            if character == 0x5f {
                raise = true
                continue
            }
            let lower = (0x61...0x7a).contains(character)
            text.unicodeScalars.append(Unicode.Scalar(raise && lower ? character - 0x20 : character))
            raise = false
        }
        return text
    }
}

package final class EnumDescriptor: Sendable {
    package let name: String
    package let values: [(number: Int32, name: String)]

    package init(_ name: String, _ values: [(number: Int32, name: String)]) {
        self.name = name
        self.values = values
    }

    package func name(of number: Int32) -> String? { values.first { $0.number == number }?.name }
    package func number(of name: String) -> Int32? { values.first { $0.name == name }?.number }
}

/// One RPC of a service.
package struct MethodDescriptor: Sendable {
    /// As on the wire: `/etcdserverpb.KV/Put`.
    package let path: String
    package let request: MessageDescriptor
    package let response: MessageDescriptor
    package let clientStreams: Bool
    package let serverStreams: Bool

    package init(
        _ path: String, _ request: MessageDescriptor, _ response: MessageDescriptor, clientStreams: Bool = false,
        serverStreams: Bool = false
    ) {
        self.path = path
        self.request = request
        self.response = response
        self.clientStreams = clientStreams
        self.serverStreams = serverStreams
    }
}
