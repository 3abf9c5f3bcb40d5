/// The smallest prime factor of every number up to a limit, by the sieve of Eratosthenes: some seconds and megabytes once,
/// and any number of the range is taken apart by a few reads.
struct FactorTable {
    private let smallest: [UInt32]

    /// - Parameter limit: costs four bytes for each number.
    init(upTo limit: Int) {
        precondition((2...Int(UInt32.max)).contains(limit), "the largest number is between 2 and 2^32 - 1")
        smallest = [UInt32](unsafeUninitializedCapacity: limit + 1) { table, count in
            for number in 0...limit { table[number] = UInt32(number) }
            var prime = 2
            while prime * prime <= limit {
                if table[prime] == UInt32(prime) {
                    for multiple in stride(from: prime * prime, through: limit, by: prime) where table[multiple] == UInt32(multiple) {
                        table[multiple] = UInt32(prime)
                    }
                }
                prime += 1
            }
            count = limit + 1
        }
    }

    func smallestFactor(of number: Int) -> Int { Int(smallest[number]) }

    /// In ascending order, with repetition.
    func factors(of number: Int) -> [Int] {
        var rest = number
        var factors: [Int] = []
        while rest > 1 {
            factors.append(smallestFactor(of: rest))
            rest /= smallestFactor(of: rest)
        }
        return factors
    }
}
