import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What turns a launched process into a Swift zygote: the operator's own executable, which links HatcheryZygote.
struct SwiftProgram {
    let configuration: ZygoteConfiguration
    let identity: Identity

    init(_ configuration: ZygoteConfiguration, _ identity: Identity) {
        self.configuration = configuration
        self.identity = identity
    }

    /// - Parameter control: the number of the zygote's connection, which stays the same across execve.
    func prepare(control: Int32) throws(SystemError) -> (ZygoteSpec, [Int32]) {
        guard let named = configuration.executable, let resolved = realpath(named, nil) else {
            throw SystemError("open", errno: errno, subject: configuration.executable ?? "")
        }
        defer { free(resolved) }
        let executable = String(cString: resolved)
        let directories = LibraryDirectories.of(executable)
        do throws(HatcheryError) {
            try Reach.require(
                executable, what: "the executable", hint: "install it in a place that everybody may read, such as /opt or /usr/local")
            for directory in directories {
                try Reach.require(
                    directory, what: "the directory of its libraries",
                    hint: "link the Swift runtime into the executable (swift build --static-swift-stdlib), or install the "
                        + "libraries in a place that everybody may read")
            }
        } catch {
            throw SystemError(error.description, errno: error.errno)
        }
        // The executable alone and not its directory, unless libraries lie there too.
        var spec = RootTree.spec(for: configuration, identity: identity, extra: directories)
        let place = SwiftProgram.place(of: executable)
        if !RootTree.isBelow(place, "/usr"), !spec.binds.contains(where: { RootTree.isBelow(place, $0.destination) }) {
            spec.binds.append(.init(source: executable, destination: place))
        }
        spec.interpreter = place
        spec.arguments = configuration.arguments
        let environment = ["HOME": "/home/sandbox"].merging(configuration.environment) { $1 }
        spec.environment =
            environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            + [ServiceVariable(control: control, freeze: configuration.freeze, allow: configuration.allow).assignment]
        return (spec, [])
    }

    /// Where the zygote has the executable: at its own path, but where scratch space lies over that.
    private static func place(of executable: String) -> String {
        let covered = ["/tmp", "/var/tmp", "/dev", "/proc", "/home/sandbox"].contains { RootTree.isBelow(executable, $0) }
        return covered ? "/srv/" + (executable as NSString).lastPathComponent : executable
    }
}
