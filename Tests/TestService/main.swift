import Dispatch
import Foundation
import HatcheryZygote

// The Swift zygote of the tests: state that is loaded once, handlers that report what they see, and switches that make a
// preload which must be refused.

// GNU's, which the header hides.
@_silgen_name("memmem")
func memmem(_ place: UnsafeRawPointer, _ length: Int, _ needle: UnsafeRawPointer, _ needleLength: Int) -> UnsafeRawPointer?

let state = (0..<200_000).map { "word \($0)" }
let startedBy = getpid()
var opened: [Int32] = []
print("said before serving", terminator: "")  // must not come out of every child

for word in CommandLine.arguments.dropFirst() {
    switch word {
    case "leak":
        opened = [open("/etc/passwd", O_RDONLY), open("/usr", O_RDONLY | O_DIRECTORY), dup2(open("/dev/null", O_RDONLY), 700)]
    case "socket": opened.append(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
    case "shared": _ = mmap(nil, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
    case "thread": Thread.detachNewThread { sleep(1000) }
    case "dispatch": DispatchQueue.global().async { sleep(1000) }
    case "exit": exit(9)
    default: break
    }
}

struct Pair: Codable {
    var name: String
    var number: Int
    var tags: [String]?
}

enum ServiceError: Error {
    case refused(reason: String)
}

let service = ZygoteService()
service.handle("echo") { (pair: Pair) in Pair(name: pair.name, number: pair.number + 1, tags: pair.tags) }
service.handle("word") { (index: Int) in state[index] }
service.handle("zygote") { startedBy }
service.handle("throws") { (reason: String) throws -> Int in throw ServiceError.refused(reason: reason) }
service.handle("infinite") { Double.infinity }
service.handle("prints") { () -> Int in
    print("printed by the handler")
    return 7
}
service.handle("random") { ["\(random())", "\(rand())", "\(drand48())", "\(UInt64.random(in: 0...UInt64.max))", UUID().uuidString] }
service.handle("environment") { ProcessInfo.processInfo.environment }
service.handle("descriptors") { (0..<4096).filter { fcntl(Int32($0), F_GETFD) >= 0 } }
service.handle("read") { (path: String) in (try? String(contentsOfFile: path, encoding: .utf8)) ?? "cannot" }
service.handle("write-state") { () -> Int in
    state.withUnsafeBufferPointer { UnsafeMutableBufferPointer(mutating: $0)[0] = "changed" }
    return state[0].count
}
service.handle("spin") { () -> Int in while true {} }
service.handle("allocate") { (megabytes: Int) -> Int in
    var kept: [[UInt8]] = []
    for _ in 0..<megabytes {
        kept.append([UInt8](repeating: 1, count: 1 << 20))
        usleep(5000)
    }
    return kept.count
}
// What runs in a child may use what the zygote must not: threads, queues, tasks, Foundation.
service.handle("concurrency") { () -> [String] in
    let done = DispatchSemaphore(value: 0)
    nonisolated(unsafe) var seen: [String] = []
    Task.detached {
        async let first = 20
        async let second = 22
        let sum = await first + second
        try? await Task.sleep(for: .milliseconds(5))
        seen.append("task \(sum)")
        done.signal()
    }
    done.wait()
    let group = DispatchGroup()
    let lock = NSLock()
    nonisolated(unsafe) var sum = 0
    for number in 1...10 { DispatchQueue.global().async(group: group) { lock.withLock { sum += number } } }
    group.wait()
    seen.append("queue \(sum)")
    let thread = Thread { done.signal() }
    thread.start()
    done.wait()
    seen.append("thread")
    return seen
}
service.handle("foundation") { () -> [String] in
    let formatter = ISO8601DateFormatter()
    try "text".write(toFile: "/tmp/file", atomically: true, encoding: .utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/echo")
    process.arguments = ["from a process"]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let json = try JSONSerialization.data(withJSONObject: ["a": 1])
    return [
        formatter.string(from: Date(timeIntervalSince1970: 0)), try String(contentsOfFile: "/tmp/file", encoding: .utf8),
        output, String(decoding: json, as: UTF8.self), "caffè".folding(options: .diacriticInsensitive, locale: nil),
    ]
}
// How often a pattern of twice eight characters is in this process's memory, put together here so that it is not found itself.
service.handle("scan") { (parts: [String]) -> Int in
    let needle = Array((parts[0] + parts[1]).utf8)
    var found = 0
    let maps = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
    let memory = open("/proc/self/mem", O_RDONLY)
    for line in maps.split(separator: "\n") where line.contains(" r") && !line.contains("[v") {
        let span = line.prefix { $0 != " " }.split(separator: "-").map { UInt64($0, radix: 16)! }
        var chunk = [UInt8](repeating: 0, count: Int(span[1] - span[0]))
        let count = chunk.withUnsafeMutableBytes { pread(memory, $0.baseAddress, $0.count, off_t(span[0])) }
        guard count > needle.count else { continue }
        chunk.withUnsafeBytes { bytes in
            var start = bytes.baseAddress!
            let end = start + count
            while let hit = memmem(start, end - start, needle, needle.count) {
                found += 1
                start = hit + needle.count
            }
        }
    }
    return found
}
service.handleRaw("raw") { call in
    while let line = readLine() { print(call.arguments.joined(separator: "+"), line) }
    return 5
}
if CommandLine.arguments.contains("fixed") { service.inEachChild { srandom(7) } }
if CommandLine.arguments.contains("hook") { service.inEachChild { throw ServiceError.refused(reason: "hook") } }
service.serve()
