enum EchoBench { static func run(_ arguments: [String]) {} }
