import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// The launch plan, read in the payload and nowhere else on the zygote's side.
enum LaunchReader {
    // step 29 (child): the profile's variables come first, so that the plan's win.
    static func merge(environment: [String], plan descriptor: Int32) throws(SystemError) -> [UInt8] {
        guard let size = SealedMemory.sealedSize(descriptor) else {
            throw SystemError("fcntl(F_GET_SEALS)", errno: EBADF)
        }
        var writer = FieldWriter()
        for variable in environment { writer.append(tag: LaunchPlan.Tag.environment, string: variable) }
        guard let plan = SealedMemory.withBytes(descriptor, size: size, { Array($0) }) else {
            throw SystemError("mmap", errno: ENOMEM)
        }
        return writer.bytes + plan
    }

    // step 32 (child)
    static func enterWorkingDirectory(_ plan: [UInt8], home: String) throws(SystemError) {
        var directory = home
        try each(plan) { tag, bytes in
            if tag == LaunchPlan.Tag.workingDirectory { directory = String(decoding: bytes, as: UTF8.self) }
        }
        // The path is the user's own, inside the user's own root: links may be followed, the root ends them. Magic links do
        // not count: /proc/self/fd/N would lead to whatever is open here (CVE-2024-21626).
        let opened = try Files.open(
            at: AT_FDCWD, directory, flags: hatchery_o_path | O_DIRECTORY, resolve: [.noMagicLinks])
        try checkErrno(fchdir(opened.raw), "fchdir", directory)
        // The kernel says "(unreachable)" for a directory that is not below the root (getcwd(2)).
        let path = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { buffer in
            getcwd(buffer.baseAddress!, Int(PATH_MAX)).map { $0.pointee }
        }
        if path != CChar(UInt8(ascii: "/")) { throw SystemError("getcwd", errno: ENOENT, subject: directory) }
    }

    /// Walks over the fields of a plan. The front has checked it; what is wrong all the same is EPROTO.
    static func each(_ plan: [UInt8], _ body: (UInt16, UnsafeRawBufferPointer) -> Void) throws(SystemError) {
        do throws(FieldError) {
            try FieldReader.reading(plan) { reader throws(FieldError) in
                var reader = reader
                while let field = try reader.next() { body(field.tag, field.bytes) }
            }
        } catch {
            throw SystemError("launch plan", errno: EPROTO, subject: error.description)
        }
    }
}

/// execve of a program in the sandbox.
enum ProgramStart {
    // step 36 (child): returns the errno of a failed execve only.
    static func run(_ plan: [UInt8]) -> Int32 {
        var target: [CChar] = []
        var arguments: [[CChar]] = []
        var environment: [[CChar]] = []
        do throws(SystemError) {
            try LaunchReader.each(plan) { tag, bytes in
                let text = bytes.map { CChar(bitPattern: $0) } + [0]
                switch tag {
                case LaunchPlan.Tag.target: target = text
                case LaunchPlan.Tag.argument: arguments.append(text)
                case LaunchPlan.Tag.environment: replaceOrAppend(text, in: &environment)
                default: break
                }
            }
        } catch {
            return error.errno
        }
        arguments.insert(target, at: 0)
        return withPointers(arguments) { argv in
            withPointers(environment) { envp in search(target, environment, argv, envp) }
        }
    }

    /// execve with texts; returns its errno.
    static func execute(_ program: String, _ arguments: [String], _ environment: [String]) -> Int32 {
        func bytes(_ text: String) -> [CChar] { text.utf8.map { CChar(bitPattern: $0) } + [0] }
        return withPointers(([program] + arguments).map(bytes)) { argv in
            withPointers(environment.map(bytes)) { envp in
                execve(program, argv, envp)
                return hatchery_errno()
            }
        }
    }

    /// A later variable wins over an earlier one of the same name; the order of first appearance stays.
    private static func replaceOrAppend(_ variable: [CChar], in environment: inout [[CChar]]) {
        let name = variable.prefix { $0 != CChar(UInt8(ascii: "=")) }
        if let index = environment.firstIndex(where: {
            $0.starts(with: name) && $0.count > name.count && $0[name.count] == CChar(UInt8(ascii: "="))
        }) {
            environment[index] = variable
        } else {
            environment.append(variable)
        }
    }

    static let defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

    /// Looks a name without a slash up in PATH, as execvp does, and reports EACCES over ENOENT as shells do.
    private static func search(
        _ target: [CChar], _ environment: [[CChar]], _ argv: UnsafePointer<UnsafeMutablePointer<CChar>?>,
        _ envp: UnsafePointer<UnsafeMutablePointer<CChar>?>
    ) -> Int32 {
        guard target.count > 1 else { return ENOENT }
        if target.contains(CChar(UInt8(ascii: "/"))) {
            execve(target, argv, envp)
            return hatchery_errno()
        }
        let prefix = "PATH=".utf8.map { CChar(bitPattern: $0) }
        let path = environment.first { $0.starts(with: prefix) }
            .map { $0.dropFirst(prefix.count).dropLast().map { UInt8(bitPattern: $0) } } ?? Array(defaultPath.utf8)
        var worst = ENOENT
        for directory in path.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: true) {
            let candidate = directory.map { CChar(bitPattern: $0) } + [CChar(UInt8(ascii: "/"))] + target
            execve(candidate, argv, envp)
            let errno = hatchery_errno()
            if errno != ENOENT && errno != ENOTDIR { worst = errno }
            if errno != ENOENT && errno != ENOTDIR && errno != EACCES { return errno }
        }
        return worst
    }

    private static func withPointers<Result>(
        _ strings: [[CChar]], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        // Freed by execve, or by the _exit after a failed one.
        let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
        for (index, string) in strings.enumerated() {
            let copy = UnsafeMutablePointer<CChar>.allocate(capacity: string.count)
            copy.initialize(from: string, count: string.count)
            pointers[index] = copy
        }
        pointers[strings.count] = nil
        return body(pointers)
    }
}
