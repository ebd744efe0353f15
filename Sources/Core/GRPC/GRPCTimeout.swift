// The grpc-timeout header: at most eight digits and a unit, `H M S m u n`. A call's time is kept in nanoseconds.

package enum GRPCTimeout {
    private static let units: [(letter: UInt8, nanoseconds: Int64)] = [
        (0x6e, 1), (0x75, 1000), (0x6d, 1_000_000), (0x53, 1_000_000_000), (0x4d, 60_000_000_000),
        (0x48, 3_600_000_000_000),
    ]
    private static let digitsMax = 8

    /// Nil when it is not a timeout. Longer than 292 years counts as that.
    package static func parse(_ header: some RandomAccessCollection<UInt8>) -> Int64? {
        guard let letter = header.last, let unit = units.first(where: { $0.letter == letter }) else { return nil }
        let digits = header.dropLast()
        guard !digits.isEmpty, digits.count <= digitsMax else { return nil }
        var value: Int64 = 0
        for digit in digits {
            guard (0x30...0x39).contains(digit) else { return nil }
            value = value * 10 + Int64(digit - 0x30)
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: unit.nanoseconds)
        return overflow ? .max : product
    }

    /// The finest unit that needs no more than eight digits, rounded up: a deadline never moves nearer on its way.
    package static func format(nanoseconds: Int64) -> String {
        if nanoseconds <= 0 { return "0n" }
        for (letter, size) in units {
            let value = nanoseconds / size + (nanoseconds % size == 0 ? 0 : 1)
            if value < 100_000_000 { return "\(value)\(Unicode.Scalar(letter))" }
        }
        return "99999999H"
    }

    /// How a server answers a header it cannot read.
    package static func malformed(_ header: String) -> GRPCStatus {
        GRPCStatus(.internal, "malformed grpc-timeout: \(header)")
    }

    /// How the JSON gateway does.
    package static func malformedAtGateway(_ header: String) -> GRPCStatus {
        GRPCStatus(.invalidArgument, "invalid grpc-timeout: \(header)")
    }
}
