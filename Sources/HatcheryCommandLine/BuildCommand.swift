import ArgumentParser
import Glibc
import HatcheryProtocol
import HatcherySystem

/// `hatchery build`: a program of its own, so that the small one carries no YAML. This becomes that one.
struct BuildCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Run the steps of a build, each phase in a sandbox.",
        usage: "hatchery build [options] SPEC.yml")

    @Argument(parsing: .captureForPassthrough) var words: [String] = []

    func perform() -> Int32 { BuildCommand.become(words) }

    /// - Returns: only where that is not possible.
    static func become(_ words: [String]) -> Int32 {
        let places = OwnProgram.places(of: "hatchery-build")
        let program = places.first { access($0, X_OK) == 0 } ?? places[0]
        var argv: [UnsafeMutablePointer<CChar>?] = (["hatchery-build"] + words).map { strdup($0) } + [nil]
        execv(program, &argv)
        Console.error("hatchery: \(SystemError("execve", errno: errno, subject: program))\n  looked at: \(places.joined(separator: ", "))")
        return ExitStatus.hatcheryFailed
    }
}
