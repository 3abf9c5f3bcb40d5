import Foundation
import Glibc
import Hatchery
import HatcheryProtocol
import HatcheryTestSupport
import Testing

/// Zygotes of kind swift: handlers, what a child sees and what it must not, and preloads that are refused.
@Suite(.serialized) struct SwiftZygoteTests {
    /// In a place that sandboxes can reach, whatever the modes above the build folder are.
    private static let directory: String = {
        let path = "/tmp/hatchery-test-service-\(getpid())"
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        atexit { try? FileManager.default.removeItem(atPath: "/tmp/hatchery-test-service-\(getpid())") }
        return path
    }()

    private static func installed(_ program: String) throws -> String {
        let path = directory + "/" + program
        if !FileManager.default.fileExists(atPath: path) {
            try FileManager.default.copyItem(atPath: TestDaemon.binaries + "/" + program, toPath: path)
        }
        return path
    }

    private static func zygote(_ more: String = "", program: String = "HatcheryTestService", nursery: Int = 1) throws -> String {
        """
        zygotes:
          - {name: service, kind: swift, executable: \(try installed(program)), nursery: {min: \(nursery), max: \(nursery)}, \(more)}
        profiles: {default: {environment: {FROM_PROFILE: "1"}, limits: {wall: {default: 20s}}}}
        """
    }

    private static let shared = Result {
        try TestDaemon(zygote("arguments: [leak], environment: {ZYGOTE_MARKER: zygote-environment}, handlers: [echo, word]"))
    }

    private func client() async throws -> HatcheryClient { try await Self.shared.get().client() }

    private func run(_ handler: String, json: String = "[]", _ options: RunOptions = RunOptions()) async throws -> RunResult {
        try await client().run(.call(handler, json: json, zygote: "service"), options)
    }

    struct Pair: Codable, Equatable {
        var name: String
        var number: Int
        var tags: [String]?
    }

    // MARK: Handlers

    @Test func argumentsAndValuesAreCodable() async throws {
        let client = try await client()
        let pair = Pair(name: "ä \"quoted\" \u{1F600}", number: 41, tags: ["x", ""])
        let answer = try await client.call("echo", pair, returning: Pair.self, zygote: "service")
        #expect(answer == Pair(name: pair.name, number: 42, tags: pair.tags))
        let word: String = try await client.call("word", 7, zygote: "service")
        #expect(word == "word 7")
        // An object is the argument itself, as named arguments are in Python.
        #expect(try await run("echo", json: #"{"name": "n", "number": 1}"#).stdout == "{\"name\": \"n\", \"number\": 2}\n")
        #expect(try await run("prints").stdout == "printed by the handler\n7\n")
    }

    @Test func whatAHandlerThrowsIsToldByTypeAndWords() async throws {
        let thrown = try await run("throws", json: #"["no such word"]"#)
        #expect(thrown.exitCode == 1 && thrown.stdout.isEmpty)
        #expect(thrown.stderr.contains(#"ServiceError: refused(reason: "no such word")"#), "\(thrown.stderr)")
        for (handler, json, words) in [
            ("echo", #"[{"name": "n", "number": "one"}]"#, ".number: expected Int, found string"),
            ("echo", #"[{"name": "n"}]"#, "\"number\" is missing"), ("echo", "[]", "it takes one argument, 0 were given"),
            ("prints", "[1]", "it takes no arguments"), ("nobody", "[]", "there is no handler 'nobody'; there are: allocate, "),
            ("infinite", "[]", "is not JSON"),
        ] {
            let result = try await run(handler, json: json)
            #expect(result.exitCode == 1 && result.stdout.isEmpty)
            #expect(result.stderr.contains(words), "\(result.stderr)")
        }
        let client = try await client()
        let error = await #expect(throws: CallError.self) {
            try await client.call("throws", "why", returning: Int.self, zygote: "service")
        }
        #expect(error?.description.contains("refused(reason: \"why\")") == true)
        await #expect(throws: CallError.self) { try await client.call("word", 1, returning: Int.self, zygote: "service") }
    }

    @Test func aRawHandlerHasTheStreamsToItself() async throws {
        var options = RunOptions()
        options.stdin = .bytes(Array("one\ntwo\n".utf8))
        let result = try await run("raw", json: #"["a", 2, {"b": null}]"#, options)
        #expect(result.stdout == "a+2+{\"b\": null} one\na+2+{\"b\": null} two\n")
        #expect(result.exitCode == 5)
    }

    @Test func aChildMayUseThreadsQueuesTasksAndFoundation() async throws {
        let concurrency = try await run("concurrency")
        #expect(concurrency.stdout == "[\"task 42\", \"queue 55\", \"thread\"]\n", "\(concurrency.stderr)")
        let foundation = try await run("foundation")
        #expect(
            foundation.stdout
                == #"["1970-01-01T00:00:00Z", "text", "from a process\n", "{\"a\":1}", "caffe"]"# + "\n", "\(foundation.stderr)")
    }

    @Test func theListingAndTheCommandLineKnowTheHandlers() async throws {
        let daemon = try Self.shared.get()
        let listing = try #require(try await client().zygotes().first)
        #expect(listing.kind == "swift" && listing.handlers.contains("echo") && listing.handlers == listing.handlers.sorted())
        func hatchery(_ words: [String]) throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: TestDaemon.binaries + "/hatchery")
            process.arguments = words + ["--socket", daemon.socketPath]
            let pipe = Foundation.Pipe()
            process.standardOutput = pipe
            process.standardError = pipe
            process.standardInput = FileHandle.nullDevice
            try process.run()
            let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            return (process.terminationStatus, output)
        }
        #expect(try hatchery(["call", "word", "3"]) == (0, "\"word 3\"\n"))
        #expect(try hatchery(["call", "echo", "--json-args", #"{"name": "n", "number": 1}"#, "--zygote", "service"]).status == 0)
        let unknown = try hatchery(["call", "nobody"])
        #expect(unknown.status == 125 && unknown.output.contains("no zygote has a handler \"nobody\""))
        #expect(try hatchery(["zygotes"]).output.contains("service: handlers allocate, concurrency, "))
    }

    // MARK: What a child sees

    @Test func exactlyThreeDescriptorsAreOpen() async throws {
        #expect(try await run("descriptors").stdout == "[0, 1, 2]\n", "the preload leaks four")
    }

    @Test func theEnvironmentIsTheRequestsOwn() async throws {
        var options = RunOptions()
        options.environment = [("FROM_REQUEST", "2"), ("FROM_PROFILE", "3")]
        let result = try await run("environment", options)
        #expect(result.stdout.contains("\"FROM_REQUEST\": \"2\"") && result.stdout.contains("\"FROM_PROFILE\": \"3\""))
        for marker in ["zygote-environment", "daemon-environment", "HATCHERY_ZYGOTE"] {
            #expect(!result.stdout.contains(marker))
            for process in ["1", "self"] {
                let seen = try await run("read", json: "[\"/proc/\(process)/environ\"]")
                #expect(!seen.stdout.contains(marker))
            }
        }
    }

    @Test func theTitleIsTheRequests() async throws {
        var options = RunOptions()
        options.sandbox.title = "a title that is longer than the arguments of the service, " + String(repeating: "x", count: 60)
        let result = try await run("read", json: #"["/proc/self/cmdline"]"#, options)
        #expect(result.stdout.contains(options.sandbox.title), "\(result.stdout)")
        #expect(!result.stdout.contains("leak"))
    }

    @Test func nothingOfOneRequestIsInTheNextOnesMemory() async throws {
        let (first, second) = ("Sw8Tk2Qz", "9vLm4XcB")
        var options = RunOptions()
        options.environment = [("MARKED", String(repeating: first + second, count: 4000))]
        let parts = "[[\"\(first)\", \"\(second)\"]]"
        let holder = try #require(Int(try await run("scan", json: parts, options).stdout.dropLast()))
        #expect(holder > 1000, "the search must be able to find it")
        for _ in 0..<3 {
            let later = try #require(Int(try await run("scan", json: parts).stdout.dropLast()))
            #expect(later < 10, "the needle itself")
        }
    }

    @Test func twoChildrenDifferAndTheSameSeedDoesNot() async throws {
        let client = try await client()
        let first: [String] = try await client.call("random", zygote: "service")
        let second: [String] = try await client.call("random", zygote: "service")
        for (one, other) in zip(first, second) { #expect(one != other) }
        var options = RunOptions()
        options.seed = 7
        let seeded: [String] = try await client.call("random", zygote: "service", options: options)
        let again: [String] = try await client.call("random", zygote: "service", options: options)
        #expect(seeded.prefix(3) == again.prefix(3))
    }

    @Test func whatAChildWritesStaysItsOwn() async throws {
        #expect(try await run("write-state").stdout == "7\n")
        #expect(try await run("word", json: "[0]").stdout == "\"word 0\"\n")
    }

    @Test func hitAndMissHaveTheSameLayers() async throws {
        try await Wait.until("a parked child") { try await client().zygotes().first?.parked == 1 }
        let hit = try await run("prints")
        var options = RunOptions()
        options.temporaryFileSystems = [.init(destination: "/mnt")]
        let miss = try await run("prints", options)
        #expect(hit.spawn.nurseryHit == true && miss.spawn.nurseryHit == false)
        #expect(hit.receipt.active == miss.receipt.active)
        #expect(hit.spawn.generation == 1)
    }

    @Test func limitsHold() async throws {
        let spun = try await run("spin", RunOptions(time: .milliseconds(700)))
        #expect(spun.verdict == .timedOut)
        var options = RunOptions()
        options.memory = 64 << 20
        #expect(try await run("allocate", json: "[2000]", options).verdict == .memoryLimit)
    }

    @Test func theHeapIsFrozen() async throws {
        let listing = try #require(try await client().zygotes().first)
        #expect(listing.heap.bytes > 4 << 20, "the words of its state")
        #expect(listing.heap.note == "")
        #expect(listing.anonymousBytes < 1 << 20)
    }

    // MARK: What is refused

    @Test(arguments: [
        ("arguments: [thread]", "2 threads"), ("arguments: [dispatch]", "threads"), ("arguments: [exit]", "exited(code: 9)"),
        ("arguments: [shared]", "the service left shared memory"), ("environment: {DB_PASSWORD: x}", "DB_PASSWORD in the environment"),
        ("arguments: [hook]", "self-test"), ("arguments: [fixed]", "the same random numbers (rand, random)"),
        ("handlers: [echo, nobody]", "it has no handler nobody"),
    ])
    func aServiceThatCannotServeSaysWhy(_ more: String, _ word: String) throws {
        let error = #expect(throws: TestDaemon.Refused.self) { try TestDaemon(Self.zygote(more)) }
        #expect(error?.description.contains(word) == true, "\(String(describing: error))")
    }

    @Test func anExecutableOutOfReachIsNamed() throws {
        let closed = Self.directory + "/closed"
        try FileManager.default.createDirectory(atPath: closed, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let program = closed + "/service"
        try FileManager.default.copyItem(atPath: TestDaemon.binaries + "/HatcheryLookupExample", toPath: program)
        let error = #expect(throws: TestDaemon.Refused.self) {
            try TestDaemon("zygotes: [{name: service, kind: swift, executable: \(program)}]")
        }
        #expect(error?.description.contains("\(closed) has mode 700") == true, "\(String(describing: error))")
    }

    @Test func startedByHandItSaysWhatItIs() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: TestDaemon.binaries + "/HatcheryLookupExample")
        process.arguments = ["100"]
        let pipe = Foundation.Pipe()
        process.standardError = pipe
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 125)
        #expect(text.contains("its handlers: factors, is-prime, largest, primes"))
    }

    // MARK: The example

    @Test func theExampleAnswersFromItsTable() async throws {
        let daemon = try TestDaemon(Self.zygote("arguments: [\"1000000\"]", program: "HatcheryLookupExample"))
        defer { daemon.stop() }
        let client = try await daemon.client()
        let result = try await client.run(.call("factors", json: #"{"number": 360}"#, zygote: "service"))
        #expect(result.stdout == "{\"number\": 360, \"factors\": [2, 2, 2, 3, 3, 5], \"isPrime\": false}\n", "\(result.stderr)")
        #expect(try await client.call("is-prime", 7919, returning: Bool.self, zygote: "service"))
        var options = RunOptions()
        options.stdin = .bytes(Array("5\n6\n7\n".utf8))
        #expect(try await client.run(.call("primes", zygote: "service"), options).stdout == "5\n7\n")
        let error = try await client.run(.call("is-prime", json: "[1000001]", zygote: "service"))
        #expect(error.stderr.contains("LookupError: outOfRange(1000001, largest: 1000000)"), "\(error.stderr)")
    }
}
