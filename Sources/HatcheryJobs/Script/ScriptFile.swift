import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// A script that was opened, checked and read once. What stands here is what runs: no name is looked up again, and the bytes are
/// ours, so that nobody can exchange or change them between the check and the run.
public struct ScriptFile: Sendable, Hashable {
    /// As the caller named it, below the base directory.
    public let name: String
    public let interpreter: String
    public let isPython: Bool
    public let bytes: [UInt8]
    public let sha256: String
    /// What the policy lets pass with a word.
    public let warnings: [String]

    /// - Throws: `.programNotFound` where nothing is there, `.notPermitted` where the policy refuses what is, `.invalidRequest` for
    ///   a name that is none.
    public init(_ name: String, policy: ScriptPolicy) throws(HatcheryError) {
        let components = try ScriptFile.components(of: name)
        let suffix = ScriptFile.suffix(of: components.last!)
        guard let suffix, let interpreter = policy.interpreters[suffix] else {
            throw ScriptFile.refused(
                "the script \"\(name)\" has \(suffix.map { "the suffix \($0)" } ?? "no suffix"), for which there is no interpreter",
                hint: "allowed are: \(policy.interpreters.keys.sorted().joined(separator: " "))")
        }
        guard interpreter.hasPrefix("/") else {
            throw HatcheryError(
                .invalidRequest, side: .client, detail: "the interpreter of \(suffix), \"\(interpreter)\", is not an absolute path")
        }
        var warnings: [String] = []
        do throws(SystemError) {
            let opened = try ScriptFile.walk(components, name, policy, &warnings)
            bytes = try ScriptFile.read(opened, name)
        } catch {
            throw ScriptFile.explain(error, name)
        }
        guard bytes.count <= ScriptPolicy.maximumScriptBytes else {
            throw ScriptFile.refused(
                "the script \"\(name)\" is longer than \(ByteSize.format(UInt64(ScriptPolicy.maximumScriptBytes)))",
                hint: "data belongs into the arguments, or into files of its own")
        }
        self.name = name
        self.interpreter = interpreter
        self.warnings = warnings
        isPython = suffix == ".py"
        sha256 = SHA256.hexadecimal(of: bytes)
    }

    // MARK: The name

    private static func components(of name: String) throws(HatcheryError) -> [String] {
        func invalid(_ what: String, _ hint: String) -> HatcheryError {
            HatcheryError(.invalidRequest, side: .client, detail: what, hint: hint)
        }
        guard !name.isEmpty, name.utf8.count < WireLimits.pathBytes else {
            throw invalid("the script's name is empty or too long", "at most \(WireLimits.pathBytes - 1) bytes")
        }
        // SECURITY: the name is printed and goes into the audit. Test: namesThatAreNoNamesAreRefused.
        guard !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
            throw invalid("the script's name contains a control character", "rename the script")
        }
        guard !name.hasPrefix("/") else {
            throw refused("the script \"\(name)\" has an absolute path", hint: "name it relative to the base directory")
        }
        guard !name.hasSuffix("/") else { throw invalid("\"\(name)\" names a directory", "name a script in it") }
        let parts = name.split(separator: "/").map(String.init)
        guard !parts.contains("..") else {
            throw refused("the script's path \"\(name)\" contains ..", hint: "scripts lie below the base directory")
        }
        let components = parts.filter { $0 != "." }
        guard let last = components.last, last.utf8.count <= 255 else {
            throw invalid("\"\(name)\" names no script", "name a file below the base directory")
        }
        return components
    }

    private static func suffix(of name: String) -> String? {
        guard let point = name.lastIndex(of: "."), point != name.startIndex else { return nil }
        return String(name[point...])
    }

    // MARK: The file

    /// One component after the other, each below the descriptor of the one before, so that every directory on the way is looked
    /// at and is the one that was walked through.
    ///
    /// SECURITY: RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS in every step. Tests: symbolicLinksAreRefused, theSwapOfADirectoryIsSeen.
    private static func walk(
        _ components: [String], _ name: String, _ policy: ScriptPolicy, _ warnings: inout [String]
    ) throws(SystemError) -> Descriptor {
        var here: Descriptor
        do throws(SystemError) {
            here = try Files.open(policy.baseDirectory, flags: hatchery_o_path | O_DIRECTORY)
        } catch {
            throw SystemError("base", errno: error.errno, subject: policy.baseDirectory)
        }
        var path = policy.baseDirectory
        for component in components.dropLast() {
            try inspectDirectory(here, path, policy, &warnings)
            here = try Files.open(
                at: here.raw, component, flags: hatchery_o_path | O_DIRECTORY, resolve: [.beneath, .noSymlinks])
            path += "/" + component
        }
        try inspectDirectory(here, path, policy, &warnings)
        // O_PATH first: opening a FIFO or a device in earnest would already do something to it.
        let found = try Files.open(
            at: here.raw, components.last!, flags: hatchery_o_path | O_NOFOLLOW, resolve: [.beneath, .noSymlinks])
        let status = try Files.status(found.raw)
        // With O_PATH and O_NOFOLLOW a link at the end of the way is opened itself.
        guard status.st_mode & S_IFMT != S_IFLNK else { throw SystemError("link", errno: ELOOP) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SystemError("regular", errno: EACCES) }
        guard status.st_mode & (S_ISUID | S_ISGID) == 0 else { throw SystemError("setuid", errno: EACCES) }
        if status.st_mode & S_IWOTH != 0 { try tell("the script \"\(name)\" can be changed by everybody", policy, &warnings) }
        return found
    }

    /// In a directory with the sticky bit (/tmp) only a file's owner can exchange it.
    private static func inspectDirectory(
        _ directory: borrowing Descriptor, _ path: String, _ policy: ScriptPolicy, _ warnings: inout [String]
    ) throws(SystemError) {
        let mode = try Files.status(directory.raw).st_mode
        guard mode & S_IWOTH != 0, mode & S_ISVTX == 0 else { return }
        try tell("everybody can exchange files in the directory \"\(path)\"", policy, &warnings)
    }

    private static func tell(_ what: String, _ policy: ScriptPolicy, _ warnings: inout [String]) throws(SystemError) {
        if policy.worldWritable == .refuse { throw SystemError("world-writable", errno: EACCES, subject: what) }
        warnings.append(what)
    }

    /// The inode that was checked, opened for reading, and read to its end.
    private static func read(_ checked: borrowing Descriptor, _ name: String) throws(SystemError) -> [UInt8] {
        let file: Descriptor
        do throws(SystemError) {
            file = try Files.open("/proc/self/fd/\(checked.raw)", flags: O_RDONLY | O_NOCTTY | O_NONBLOCK)
        } catch {
            throw SystemError("read", errno: error.errno, subject: name)
        }
        return try readAll(file.raw, limit: ScriptPolicy.maximumScriptBytes + 1)
    }

    // MARK: Errors

    private static func explain(_ error: SystemError, _ name: String) -> HatcheryError {
        switch (error.call, error.errno) {
        case ("regular", _): return refused("\"\(name)\" is not a regular file", hint: "name a file")
        case ("setuid", _): return refused("the script \"\(name)\" is setuid or setgid", hint: "chmod ug-s it")
        case ("world-writable", _): return refused(error.subject, hint: "chmod o-w it, or let the policy warn only")
        case (_, ELOOP): return refused("the path of \"\(name)\" contains a symbolic link", hint: "name the file itself")
        case ("base", let errno):
            return HatcheryError(
                .invalidRequest, side: .client, errno: errno, detail: "the base directory \"\(error.subject)\"",
                hint: "name the directory that scripts lie below")
        case (_, ENOENT), (_, ENOTDIR):
            return HatcheryError(
                .programNotFound, side: .client, errno: error.errno, detail: "the script \"\(name)\"",
                hint: "scripts are looked up below the base directory")
        case (_, EACCES):
            return HatcheryError(
                .notPermitted, side: .client, errno: EACCES, detail: "the script \"\(name)\"",
                hint: "the user who asks must be able to read it, and to search every directory on the way")
        default: return HatcheryError(client: error, kind: .notPermitted)
        }
    }

    private static func refused(_ detail: String, hint: String) -> HatcheryError {
        HatcheryError(.notPermitted, side: .client, detail: detail, hint: hint)
    }
}
