import CHatchery
import Glibc
import HatcherySystem
import Testing

/// A tree with a file inside, one outside, and every kind of way from one to the other.
@Suite struct FilesTests {
    private let scratch: ScratchDirectory
    private let root: String

    init() throws {
        scratch = try ScratchDirectory()
        root = scratch.path + "/root"
        for directory in [root, root + "/inner"] { try checkErrno(mkdir(directory, 0o755), "mkdir", directory) }
        for (file, text) in [(root + "/file", "inside"), (root + "/inner/file", "inner"), (scratch.path + "/secret", "outside")] {
            let descriptor = try Files.open(file, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
            try writeAll(descriptor.raw, Array(text.utf8))
        }
        let links = [
            ("link", "file"), ("up", "../secret"), ("absolute", scratch.path + "/secret"), ("directory", "inner"),
            ("rooted", "/file"),
        ]
        for (name, target) in links { try checkErrno(symlink(target, root + "/" + name), "symlink", name) }
    }

    /// The contents, or the errno.
    private func read(_ path: String, _ resolve: Resolution) throws -> Result<String, SystemError> {
        let directory = try Files.open(root, flags: O_RDONLY | O_DIRECTORY)
        do throws(SystemError) {
            let file = try Files.open(at: directory.raw, path, flags: O_RDONLY, resolve: resolve)
            return .success(String(decoding: try readAll(file.raw, limit: 99), as: UTF8.self))
        } catch {
            return .failure(error)
        }
    }

    private func refused(_ path: String, _ errno: Int32) -> Result<String, SystemError> {
        .failure(SystemError("openat2", errno: errno, subject: path))
    }

    /// The twin of all tests below: without flags each of these ways leads where it points.
    @Test func withoutFlagsEveryWayIsOpen() throws {
        #expect(try read("file", []) == .success("inside"))
        for path in ["up", "absolute", "../secret", "inner/../../secret"] { #expect(try read(path, []) == .success("outside")) }
        #expect(try read("directory/file", []) == .success("inner"))
    }

    @Test func beneathLeadsNowhereOut() throws {
        #expect(try read("file", .beneath) == .success("inside"))
        #expect(try read("link", .beneath) == .success("inside"))
        #expect(try read("inner/../file", .beneath) == .success("inside"))
        for path in ["up", "absolute", "rooted", "../secret", "inner/../../secret", root + "/file", "../root/file"] {
            #expect(try read(path, .beneath) == refused(path, EXDEV))
        }
    }

    @Test func inRootTakesTheDirectoryForTheRoot() throws {
        for path in ["file", "/file", "rooted", "../file", "../../../file", "/inner/../../file"] {
            #expect(try read(path, .inRoot) == .success("inside"))
        }
        for path in ["up", "absolute", "../secret"] { #expect(try read(path, .inRoot) == refused(path, ENOENT)) }
    }

    @Test func noSymlinksMeansNowhereInThePath() throws {
        #expect(try read("inner/file", .noSymlinks) == .success("inner"))
        for path in ["link", "directory/file", "up", "absolute"] { #expect(try read(path, .noSymlinks) == refused(path, ELOOP)) }
    }

    @Test func magicLinksAreRefused() throws {
        let file = try Files.open(root + "/file", flags: O_RDONLY)
        let path = "/proc/self/fd/\(file.raw)"
        #expect(try read(path, []) == .success("inside"))
        #expect(try read(path, .noMagicLinks) == refused(path, ELOOP))
        #expect(try read("link", .noMagicLinks) == .success("inside"))
    }

    @Test func mountPointsAreRefused() throws {
        #expect(try read("/proc/self/status", .noCrossing) == refused("/proc/self/status", EXDEV))
        #expect(try read("inner/file", .noCrossing) == .success("inner"))
    }

    @Test func whatIsOpenedIsCloseOnExecAndKnown() throws {
        let file = try Files.open(root + "/file", flags: O_RDONLY)
        let directory = try Files.open(root, flags: O_RDONLY | O_DIRECTORY)
        #expect(hatchery_fcntl(file.raw, F_GETFD, 0) & FD_CLOEXEC != 0)
        #expect(Files.isRegular(file.raw) && !Files.isDirectory(file.raw))
        #expect(Files.isDirectory(directory.raw) && !Files.isRegular(directory.raw))
        #expect(!Files.isRegular(-1) && !Files.isDirectory(-1))
        #expect(try Files.cachedStatus(file.raw).inode == UInt64(Files.status(file.raw).st_ino))
    }

    @Test func namesAreListedUpToTheirLimit() throws {
        let directory = try Files.open(root, flags: O_RDONLY | O_DIRECTORY)
        let names = ["absolute", "directory", "file", "inner", "link", "rooted", "up"]
        for _ in 0..<2 { #expect(try Files.names(in: directory.raw, limit: 7).sorted() == names) }
        #expect(throws: SystemError("readdir", errno: E2BIG)) { try Files.names(in: directory.raw, limit: 6) }
    }
}
