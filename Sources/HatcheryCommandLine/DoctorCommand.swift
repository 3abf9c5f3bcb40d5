import ArgumentParser
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// `hatchery doctor`
struct DoctorCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check whether this host can run sandboxes, and say how to mend what it lacks.",
        discussion: "Exit status 0 where sandboxes can run, 1 where they cannot.")

    @OptionGroup var daemon: DaemonFlags
    @Flag(help: "A JSON object instead of lines.") var json = false

    func perform() -> Int32 {
        let checks = HostChecks.all() + [daemonAnswers()]
        let canRun = !checks.contains { $0.state == .missing }
        if json {
            var writer = JSONWriter()
            writer.object { object in
                object.bool("can_run", canRun)
                object.array("checks") { list in
                    for check in checks { list.object { check.write(to: &$0) } }
                }
            }
            Console.output(writer.text + "\n")
        } else {
            let summary = canRun ? "Sandboxes can run here.\n" : "Sandboxes cannot run here: see what is missing.\n"
            Console.output(checks.map(\.line).joined() + summary)
        }
        return canRun ? 0 : 1
    }

    private func daemonAnswers() -> HostCheck {
        do throws(HatcheryError) {
            let reactor = try RunDriver.ownReactor()
            let connection = try DaemonLocator.connect(daemon.socket, reactor: reactor, startsDaemon: false)
            let greeting = Slot<Result<Welcome, HatcheryError>>()
            connection.greet { greeting.value = $0 }
            while greeting.value == nil { reactor.turn() }
            let welcome = try greeting.value!.get()
            return .ok(
                "daemon",
                "version \(welcome.version), pid \(welcome.pid), \(welcome.identity)"
                    + (welcome.hasTestSwitches ? ", built with test switches: not for production" : ""))
        } catch {
            // One that the user named must be there; otherwise a private one is started when it is wanted.
            if daemon.socket == nil && error.kind == .unreachable {
                return .ok("daemon", "none is running; `hatchery run` starts a private one")
            }
            return HostCheck(name: "daemon", state: .missing, found: "\(error)", mend: error.hint)
        }
    }
}
