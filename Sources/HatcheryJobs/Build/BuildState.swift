import CHatchery
import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// The work directory and the home directory between two phases: a stream in a file that has no name, so that it is gone with this
/// process, however that ends.
final class BuildState: Sendable {
    private let file: Descriptor

    private init() throws(HatcheryError) {
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        do throws(SystemError) {
            // O_TMPFILE, which libc shows to _GNU_SOURCE only; not every file system has it.
            let raw = hatchery_open(folder, O_RDWR | O_CLOEXEC | 0o20_200_000, 0o600)
            file = Descriptor(
                owning: raw >= 0 ? raw : try check(hatchery_memfd_create("hatchery-build", hatchery_mfd_flags), "memfd_create"))
        } catch {
            throw HatcheryError(client: error)
        }
    }

    /// What a directory of the caller's holds.
    static func pack(_ directory: String, limit: UInt64) throws(HatcheryError) -> BuildState {
        let state = try BuildState()
        let opened = try open(directory)
        try problems("the repository \"\(directory)\"") { () throws(TreeStream.Problem) in
            let writer = TreeStreamWriter(state.file.raw, limit: limit)
            try TreePacker(writer, root: .work).pack(opened.raw)
            try writer.end()
        }
        return state
    }

    /// An empty one that is written piece by piece.
    static func empty() throws(HatcheryError) -> BuildState { try BuildState() }

    func append(_ bytes: [UInt8]) throws(HatcheryError) {
        do throws(SystemError) { try writeAll(file.raw, bytes) } catch { throw HatcheryError(client: error) }
    }

    /// The descriptor at the beginning of the stream.
    func rewound() -> Int32 {
        lseek(file.raw, 0, SEEK_SET)
        return file.raw
    }

    // MARK: Reading

    /// - Throws: where it is not a whole stream: it came out of a sandbox.
    func verify() throws(HatcheryError) {
        try each { _, _ in }
    }

    private func each(
        _ body: (TreeStream.Entry, TreeStreamReader) throws(TreeStream.Problem) -> Void
    ) throws(HatcheryError) {
        let raw = rewound()
        try BuildState.problems("the state of the tree") { () throws(TreeStream.Problem) in
            let reader = TreeStreamReader(raw)
            while let entry = try reader.next() { try body(entry, reader) }
        }
    }

    /// This state where `rights` let changes last, and `before` everywhere else.
    func keeping(_ rights: BuildRights, of before: BuildState, limit: UInt64) throws(HatcheryError) -> BuildState {
        if rights.writable.contains(".") && rights.writable.contains("~") { return self }
        let joined = try BuildState()
        let writer = TreeStreamWriter(joined.file.raw, limit: limit)
        func isKept(_ entry: TreeStream.Entry) -> Bool {
            entry.root == .home ? rights.writable.contains("~") : rights.keeps(entry.text)
        }
        for (state, takes) in [(before, false), (self, true)] {
            try state.each { entry, reader throws(TreeStream.Problem) in
                guard isKept(entry) == takes else { return }
                try writer.begin(entry)
                while let data = try reader.data() { try writer.write(data) }
            }
        }
        try BuildState.problems("the state of the tree") { () throws(TreeStream.Problem) in try writer.end() }
        return joined
    }

    // MARK: Writing to the caller's own places

    /// Makes a directory of the caller's hold what the work directory held. `.git` is left alone: what stands there is run by
    /// git on the host.
    func write(to directory: String) throws(HatcheryError) {
        let unpacker = TreeUnpacker(
            try BuildState.open(directory), deletesOthers: true, untouched: [Array(".git".utf8)])
        try each { entry, reader throws(TreeStream.Problem) in
            guard entry.root == .work else { return }
            try unpacker.add(entry, at: entry.path) { () throws(TreeStream.Problem) in try reader.data() }
        }
        try BuildState.problems(directory) { () throws(TreeStream.Problem) in try unpacker.finish() }
    }

    /// Brings a file or directory out. Links stay behind: where they lead is a stranger's word.
    ///
    /// - Returns: false where nothing of that path is there.
    func bringOut(_ output: BuildOptions.Output) throws(HatcheryError) -> Bool {
        let wanted = output.path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        let target = output.destination.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let parts = target.last == "" ? Array(target.dropLast()) : target
        guard let name = parts.last, !name.isEmpty, name != "..", name != "." else {
            throw BuildPlan.invalid("--out: \"\(output.destination)\" names no file or directory", "give PATH:DEST")
        }
        let folder = parts.dropLast().joined(separator: "/")
        var found = false
        let unpacker = TreeUnpacker(
            try BuildState.open(folder.isEmpty ? (output.destination.hasPrefix("/") ? "/" : ".") : folder))
        try each { entry, reader throws(TreeStream.Problem) in
            let path = entry.text
            guard entry.root == .work, entry.kind != .link, path == wanted || path.hasPrefix(wanted + "/") else { return }
            found = true
            try unpacker.add(entry, at: Array((name + path.dropFirst(wanted.count)).utf8)) { () throws(TreeStream.Problem) in
                try reader.data()
            }
        }
        try BuildState.problems(output.destination) { () throws(TreeStream.Problem) in try unpacker.finish() }
        return found
    }

    private static func open(_ directory: String) throws(HatcheryError) -> Descriptor {
        do throws(SystemError) {
            return try Files.open(directory, flags: O_RDONLY | O_DIRECTORY)
        } catch {
            throw HatcheryError(client: error, kind: .invalidRequest)
        }
    }

    private static func problems(
        _ what: String, _ body: () throws(TreeStream.Problem) -> Void
    ) throws(HatcheryError) {
        do throws(TreeStream.Problem) {
            try body()
        } catch {
            throw HatcheryError(.setupFailed, side: .client, detail: "\(what): \(error)")
        }
    }
}
