import Glibc
import HatcheryProtocol
import Testing

@testable import HatcheryCommandLine

struct PrivatePlaceTests {
    private let directory = "/tmp/hatchery-place-\(UInt32.random(in: 0 ... .max))"

    private func refusal(_ path: String) -> HatcheryError.Kind? {
        do throws(HatcheryError) {
            _ = try PrivatePlace.find(PrivatePlace(directory: path), creates: true)
            return nil
        } catch {
            return error.kind
        }
    }

    @Test func aNewPrivateDirectoryIsForItsUserAlone() throws {
        defer { rmdir(directory) }
        let mask = umask(0)
        defer { umask(mask) }
        #expect(refusal(directory) == nil)
        var status = stat()
        #expect(lstat(directory, &status) == 0 && status.st_mode & 0o777 == 0o700)
    }

    @Test func aForeignPrivateDirectoryIsRefused() throws {
        mkdir(directory, 0o755)
        defer { rmdir(directory) }
        #expect(refusal(directory) == .notPermitted, "others can enter it")
        chmod(directory, 0o700)
        #expect(refusal(directory) == nil)
        let link = directory + "-link"
        symlink(directory, link)
        defer { unlink(link) }
        #expect(refusal(link) == .notPermitted, "a link")
        if geteuid() == 0 {
            chown(directory, 12345, 12345)
            #expect(refusal(directory) == .notPermitted, "somebody else's")
        } else {
            print("not root: a directory of another user cannot be made")
        }
    }

    @Test func askingAloneCreatesNothing() throws {
        #expect(try PrivatePlace.find(PrivatePlace(directory: directory), creates: false) == nil)
        #expect(access(directory, F_OK) != 0)
    }
}
