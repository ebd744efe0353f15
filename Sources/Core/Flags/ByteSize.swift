// Sizes for people, in powers of 1000: `20 kB`, `1.2 MB`, `16 MB`. Two digits below ten, none after.

package enum ByteSize {
    package static func format(_ bytes: UInt64) -> String {
        if bytes < 10 { return "\(bytes) B" }
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        var exponent = 0
        var unit: UInt64 = 1
        while exponent < units.count - 1 && bytes / unit >= 1000 {
            unit *= 1000
            exponent += 1
        }
        // Tenths, rounded half up.
        let tenths = UInt64((Double(bytes) / Double(unit) * 10 + 0.5).rounded(.down))
        if tenths < 100 && exponent > 0 { return "\(tenths / 10).\(tenths % 10) \(units[exponent])" }
        let whole = exponent == 0 ? bytes : UInt64((Double(tenths) / 10).rounded(.toNearestOrEven))
        return "\(whole) \(units[exponent])"
    }
}
