import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The child's side of a Swift zygote: `prepare` while nothing is known of a request, `main` in the sealed sandbox.
enum ServiceChild {
    /// The self-test of a generation (ACCEPTANCE A23), as in zygote.py.
    static let selfTest = "hatchery.zygote:random_values"
    static let ownFailure: Int32 = 125

    // step 27 (child)
    static func prepare() -> Int32 {
        seedLibc(nil)
        do {
            for hook in ServiceStart.service?.hooks ?? [] { try hook() }
            return 0
        } catch {
            ServiceStart.complain("the child could not be prepared: \(error)")
            return ECANCELED
        }
    }

    /// libc's generators go on from where the zygote's stood, in every child the same. Swift's own asks the kernel each time.
    private static func seedLibc(_ seed: UInt64?) {
        var generator = SystemRandomNumberGenerator()
        let number = seed ?? generator.next()
        srandom(UInt32(truncatingIfNeeded: number))
        srand(UInt32(truncatingIfNeeded: number >> 16))
        srand48(Int(truncatingIfNeeded: number >> 8))
    }

    // step 36 (child)
    static func main(_ launch: UnsafeRawPointer?, _ length: Int) -> Int32 {
        // By lines, also into a pipe: what was printed before a kill must not be lost.
        hatchery_buffer_stdout_by_line()
        let call: Call
        do throws(FieldError) {
            call = try Call(FieldReader(UnsafeRawBufferPointer(start: launch, count: length)))
        } catch {
            ServiceStart.complain("the launch plan cannot be run: \(error)")
            return ownFailure
        }
        enter(call.environment)
        if let seed = call.seed { seedLibc(seed) }
        let (status, answer) = run(call)
        fflush(nil)
        guard let answer else { return status }
        // Nothing that was printed may follow it.
        return (try? writeAll(1, Array((answer + "\n").utf8))) == nil ? 120 : status
    }

    private static func run(_ call: Call) -> (Int32, String?) {
        if call.target == selfTest { return (0, randomValues()) }
        guard let service = ServiceStart.service, let handler = service.handlers[call.target] else {
            let known = ServiceStart.service?.handlers.keys.sorted().joined(separator: ", ") ?? ""
            ServiceStart.complain("call: there is no handler '\(call.target)'; there are: \(known)")
            return (1, nil)
        }
        do {
            let json = call.json.isEmpty ? Array("[]".utf8) : call.json
            guard let arguments = JSONText.value(of: json) else {
                throw ZygoteService.Misuse(message: "the arguments are not JSON")
            }
            return try handler(arguments, String(decoding: json, as: UTF8.self))
        } catch let error as ZygoteService.Misuse {
            ServiceStart.complain("call: '\(call.target)': \(error.message)")
        } catch {
            // What the handler threw, by type and words, as an uncaught exception is shown elsewhere.
            try? writeAll(2, Array("\(String(reflecting: type(of: error))): \(error)\n".utf8))
        }
        return (1, nil)
    }

    private static func enter(_ variables: [String]) {
        clearenv()
        for variable in variables {
            guard let equals = variable.firstIndex(of: "=") else { continue }
            setenv(String(variable[..<equals]), String(variable[variable.index(after: equals)...]), 1)
        }
        tzset()
    }

    private static func randomValues() -> String {
        var generator = SystemRandomNumberGenerator()
        var writer = JSONWriter()
        writer.object { object in
            object.string("swift", String(generator.next() as UInt64, radix: 16))
            object.string("random", "\(random()) \(random())")
            object.string("rand", "\(rand()) \(rand())")
            object.string("drand48", "\(drand48())")
        }
        return writer.text
    }

    /// The fields of a launch plan that a call has.
    private struct Call {
        var target = ""
        var json: [UInt8] = []
        /// The profile's first and the client's last, so that a later one wins.
        var environment: [String] = []
        var seed: UInt64?

        init(_ reader: FieldReader) throws(FieldError) {
            var reader = reader
            while let field = try reader.next() {
                switch field.tag {
                case LaunchPlan.Tag.target: target = String(decoding: field.bytes, as: UTF8.self)
                case LaunchPlan.Tag.jsonArguments: json = Array(field.bytes)
                case LaunchPlan.Tag.environment: environment.append(String(decoding: field.bytes, as: UTF8.self))
                case LaunchPlan.Tag.seed: seed = try field.integer()
                default: break
                }
            }
        }
    }
}
