import HatcheryZygote

// A zygote that builds a large table once, and answers from it in a sandboxed child for each call.
//
//     lookup [LARGEST NUMBER]      started by hatcheryd: kind swift, executable, arguments

let largest = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 10_000_000
let table = FactorTable(upTo: largest)

/// What `factors` is asked.
struct Question: Decodable {
    var number: Int
}

struct Factors: Encodable {
    var number: Int
    var factors: [Int]
    var isPrime: Bool
}

/// Printed on the caller's stderr with its type; the child's exit status is 1.
enum LookupError: Error {
    case outOfRange(Int, largest: Int)
}

func check(_ number: Int) throws(LookupError) {
    guard (2...largest).contains(number) else { throw .outOfRange(number, largest: largest) }
}

let service = ZygoteService()

// hatchery call factors --json-args '{"number": 360}'
service.handle("factors") { (question: Question) in
    try check(question.number)
    let factors = table.factors(of: question.number)
    return Factors(number: question.number, factors: factors, isPrime: factors.count == 1)
}

// hatchery call is-prime 7919
service.handle("is-prime") { (number: Int) in
    try check(number)
    return table.smallestFactor(of: number) == number
}

// hatchery call largest
service.handle("largest") { largest }

// seq 1 100 | hatchery call primes --stdin -     (reads and writes by itself)
service.handleRaw("primes") { _ in
    while let line = readLine() {
        guard let number = Int(line) else {
            print("not a number: \(line)")
            return 2
        }
        if (2...largest).contains(number), table.smallestFactor(of: number) == number { print(number) }
    }
    return 0
}

service.serve()
