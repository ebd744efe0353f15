// Words and flags of put, get and del become requests. The same rules serve the commands and the lines of a transaction.

import Flags
import Foundations
import Wire

package enum KeyArguments {
    /// `input`: where a missing value is read from; nil where there is nothing to read (in a transaction).
    package static func put(
        _ words: [String], _ values: OptionValues, input: (() throws(CtlFailure) -> Bytes)?
    ) throws(CtlFailure) -> PutRequest {
        let missing = CtlFailure.arguments("put command needs 1 argument and input from stdin or 2 arguments")
        guard let key = words.first else { throw missing }
        var request = PutRequest()
        request.key = ArgumentText.bytes(of: key)
        request.ignoreValue = values.bool("ignore-value")
        if request.ignoreValue {
            guard words.count == 1 else {
                throw .arguments("put command needs only 1 argument when 'ignore-value' is set")
            }
        } else if words.count > 1 {
            request.value = ArgumentText.bytes(of: words[1])
        } else {
            request.value = try input?() ?? []
            guard !request.value.isEmpty else { throw missing }
        }
        do {
            request.lease = try GoText.parseInt(values.text("lease"), base: 16)
        } catch {
            throw .arguments(
                "bad lease ID (\(NumberWords.refusal("ParseInt", values.text("lease"), error))), expecting ID in Hex")
        }
        request.prevKv = values.bool("prev-kv")
        request.ignoreLease = values.bool("ignore-lease")
        return request
    }

    package static func get(_ words: [String], _ values: OptionValues) throws(CtlFailure) -> RangeRequest {
        let range = try keyRange(words, values, command: "get", wordsMax: nil)
        if values.bool("prefix") && values.bool("from-key") { throw bothRanges }
        if values.bool("keys-only") && values.bool("count-only") {
            throw .arguments("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
        }
        var request = RangeRequest()
        switch values.text("consistency") {
        case "s": request.serializable = true
        case "l": break
        case let other: throw CtlFailure(.badFeature, "unknown consistency flag \(GoText.quote(other))")
        }
        (request.sortOrder, request.sortTarget) = try sorting(values)
        if words.count > 1 && (values.bool("prefix") || values.bool("from-key")) {
            throw .arguments(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
        }
        request.key = range.key
        request.rangeEnd = range.end
        request.limit = values.integer("limit")
        request.revision = values.integer("rev")
        request.keysOnly = values.bool("keys-only")
        request.countOnly = values.bool("count-only")
        request.minCreateRevision = values.integer("min-create-rev")
        request.maxCreateRevision = values.integer("max-create-rev")
        request.minModRevision = values.integer("min-mod-rev")
        request.maxModRevision = values.integer("max-mod-rev")
        return request
    }

    package static func delete(_ words: [String], _ values: OptionValues) throws(CtlFailure) -> DeleteRangeRequest {
        let range = try keyRange(words, values, command: "del", wordsMax: 2)
        if values.bool("prefix") && values.bool("from-key") { throw bothRanges }
        if words.count > 1 && (values.bool("prefix") || values.bool("from-key")) {
            throw .arguments(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
        }
        var request = DeleteRangeRequest()
        request.key = range.key
        request.rangeEnd = range.end
        request.prevKv = values.bool("prev-kv")
        return request
    }

    private static let bothRanges = CtlFailure.arguments(
        "`--prefix` and `--from-key` cannot be set at the same time, choose one")

    private static func keyRange(
        _ words: [String], _ values: OptionValues, command: String, wordsMax: Int?
    ) throws(CtlFailure) -> KeyRange {
        guard let first = words.first, words.count <= wordsMax ?? .max else {
            throw .arguments("\(command) command needs one argument as key and an optional argument as range_end")
        }
        let key = ArgumentText.bytes(of: first)
        if values.bool("prefix") { return .prefix(key) }
        if values.bool("from-key") { return .from(key) }
        return KeyRange(key: key, end: words.count > 1 ? ArgumentText.bytes(of: words[1]) : [])
    }

    /// A target without an order sorts ascending; keys come in that order anyway.
    private static func sorting(
        _ values: OptionValues
    ) throws(CtlFailure) -> (RangeRequest.SortOrder, RangeRequest.SortTarget) {
        let orderText = values.text("order")
        let targetText = values.text("sort-by")
        var order = RangeRequest.SortOrder.none
        switch orderText.uppercased() {
        case "": break
        case "ASCEND": order = .ascend
        case "DESCEND": order = .descend
        default: throw CtlFailure(.badFeature, "bad sort order \(orderText)")
        }
        var target = RangeRequest.SortTarget.key
        switch targetText.uppercased() {
        case "", "KEY": break
        case "CREATE": target = .create
        case "MODIFY": target = .mod
        case "VALUE": target = .value
        case "VERSION": target = .version
        default: throw CtlFailure(.badFeature, "bad sort target \(targetText)")
        }
        if !targetText.isEmpty && orderText.isEmpty { order = .ascend }
        return (order, target)
    }
}

/// Numbers in arguments, refused in Go's words.
enum NumberWords {
    static func refusal(_ function: String, _ text: String, _ error: GoText.NumberError) -> String {
        "strconv.\(function): parsing \(GoText.quote(text)): \(error.long)"
    }

    static func leaseID(_ text: String) throws(CtlFailure) -> Int64 {
        do { return try GoText.parseInt(text, base: 16) } catch {
            throw .arguments("bad lease ID arg (\(refusal("ParseInt", text, error))), expecting ID in Hex")
        }
    }

    static func memberID(_ text: String) throws(CtlFailure) -> UInt64 {
        do { return try GoText.parseUInt(text, base: 16) } catch {
            throw .arguments("bad member ID arg (\(refusal("ParseUint", text, error))), expecting ID in Hex")
        }
    }
}
