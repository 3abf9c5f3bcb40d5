import CHatchery
import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What turns a launched process into a Python zygote: the user's interpreter, our bootstrap, our library.
struct PythonProgram {
    let configuration: ZygoteConfiguration
    let identity: Identity
    let images: Images

    init(_ configuration: ZygoteConfiguration, _ identity: Identity, _ images: Images) {
        self.configuration = configuration
        self.identity = identity
        self.images = images
    }

    /// What the bootstrap reads: Sources/HatcheryDaemon/Python/zygote.py names the same keys.
    private struct StartConfiguration: Encodable {
        var preload: [String]
        var warmup: String
        var environment: [String: String]
        var paths: [String]
        var rehearsal: String
        var rehearse: Bool
        var freeze: Bool
        var allow: [String]
    }

    /// - Parameter control: the number of the zygote's connection, which stays the same across execve.
    func prepare(control: Int32) throws(SystemError) -> (ZygoteSpec, [Int32]) {
        guard images.pythonLibrary >= 0 else {
            throw SystemError("open", errno: ENOENT, subject: Images.pythonLibraryName + " beside hatcheryd")
        }
        let interpreter: PythonInterpreter
        do throws(HatcheryError) {
            interpreter = try PythonInterpreter(path: configuration.interpreter)
        } catch {
            throw SystemError(error.description, errno: error.errno == 0 ? EINVAL : error.errno)
        }
        let libraryFile = Descriptor(
            owning: try check(hatchery_fcntl(images.pythonLibrary, hatchery_f_dupfd_cloexec, 3), "fcntl(F_DUPFD_CLOEXEC)"))
        let bootstrapFile = try SealedMemory.make(name: "zygote.py", bytes: PackageResources.zygote_py)
        let startFile = try SealedMemory.make(name: "zygote-start", bytes: try startConfiguration())
        // Nothing throws from here on.
        let (library, bootstrap, start) = (libraryFile.release(), bootstrapFile.release(), startFile.release())
        var spec = RootTree.spec(for: configuration, identity: identity, extra: interpreter.prefixes)
        spec.interpreter = configuration.interpreter
        spec.arguments = ["-I", "-X", "utf8", "-B", "/proc/self/fd/\(bootstrap)", "\(control)", "\(library)", "\(start)"]
        // Libraries that look for their configuration find a home: the place where children have theirs, empty and writable.
        let environment = ["HOME": "/home/sandbox"].merging(configuration.environment) { $1 }
        spec.environment = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return (spec, [library, bootstrap, start])
    }

    private func startConfiguration() throws(SystemError) -> [UInt8] {
        let start = StartConfiguration(
            preload: configuration.preload, warmup: configuration.warmup ?? "",
            environment: configuration.environment, paths: [],
            // Rehearsing pays where children are parked ahead of their request, and costs where they are not.
            rehearsal: configuration.rehearsal ?? "", rehearse: configuration.nursery.max > 0,
            freeze: configuration.freeze, allow: configuration.allow.map(\.rawValue))
        guard let data = try? JSONEncoder().encode(start) else { throw SystemError("JSON", errno: EINVAL) }
        return Array(data)
    }
}
