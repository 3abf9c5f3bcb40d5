import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// From the user's own `main` to the serve loop.
enum ServiceStart {
    /// In the zygote and in its children; nothing between two clones touches it.
    nonisolated(unsafe) private(set) static var service: ZygoteService?

    static func serve(_ service: ZygoteService) -> Never {
        guard let value = getenv(ServiceVariable.name), let start = ServiceVariable(String(cString: value)) else {
            complain("this is a zygote, which hatcheryd starts (kind: swift, executable: \(CommandLine.arguments[0]))\n"
                + "its handlers: \(service.handlers.keys.sorted().joined(separator: ", "))")
            exit(125)
        }
        self.service = service
        audit(start)
        ServeLoop.report(start.control, .handlers(service.handlers.keys.sorted()))
        // The environment was the preload's; children get theirs from their request.
        clearenv()
        // What was printed and not written yet would be written by every child.
        fflush(nil)
        ServeLoop.run(
            control: start.control,
            runtime: PayloadRuntime(prepare: { _ in ServiceChild.prepare() }, main: { ServiceChild.main($0, $1) }),
            freeze: start.freeze)
    }

    private static func audit(_ start: ServiceVariable) {
        for finding in Audit.look(control: start.control) {
            let text = "the service left \(finding.what): \(finding.kind.advice)"
            if finding.kind.isRefused && !start.allow.contains(finding.kind) {
                ServeLoop.report(start.control, .failed(message: text))
                _exit(1)
            }
            ServeLoop.report(start.control, .finding(text))
        }
    }

    static func complain(_ text: String) { try? writeAll(2, Array("hatchery: \(text)\n".utf8)) }
}
