import CHatchery
import Foundation
import Glibc
import Hatchery
import HatcheryJobs
import HatcherySystem
import Testing

/// Row C7: one record for every run, with a digest and without content.
struct AuditTests {
    /// FIPS 180-4, and the lengths around the padding's edges, compared with coreutils' digests.
    @Test func digestsAreThoseOfTheStandard() {
        #expect(SHA256.hexadecimal(of: []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(SHA256.hexadecimal(of: Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let lengths = [
            55: "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318",
            56: "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a",
            64: "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb",
            1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        ]
        for (length, digest) in lengths {
            #expect(SHA256.hexadecimal(of: [UInt8](repeating: UInt8(ascii: "a"), count: length)) == digest)
        }
        var pieces = SHA256()
        for piece in ["a", "", "bc"] { pieces.update(Array(piece.utf8)) }
        #expect(pieces.hexadecimal() == SHA256.hexadecimal(of: Array("abc".utf8)))
    }

    @Test func aFileThatWasRotatedIsBegunAnew() throws {
        let folder = Folder()
        let log = try AuditLog(.file(folder.path + "/audit"))
        try log.write(AuditRecord(.script, name: "one"))
        rename(folder.path + "/audit", folder.path + "/audit.1")
        try log.write(AuditRecord(.script, name: "two"))
        unlink(folder.path + "/audit")
        try log.write(AuditRecord(.script, name: "three\nwith a line"))
        #expect(folder.read("audit.1").contains("\"one\"") && !folder.read("audit.1").contains("\"two\""))
        let lines = folder.read("audit").split(separator: "\n")
        #expect(lines.count == 1)
        let object = try JSONSerialization.jsonObject(with: Data((lines.first ?? "").utf8)) as? [String: Any]
        #expect(object?["name"] as? String == "three\nwith a line")
        #expect(object?["verdict"] as? String == "refused")
        var status = stat()
        stat(folder.path + "/audit", &status)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func aLinkAtThePathIsNotFollowed() {
        let folder = Folder()
        folder.write("victim", "")
        folder.link("audit", to: "victim")
        #expect(throws: HatcheryError.self) { try AuditLog(.file(folder.path + "/audit")) }
        #expect(throws: HatcheryError.self) { try AuditLog(.file(folder.path + "/no/such/folder")) }
    }

    @Test func journaldGetsFieldsAndLargeOnesInAMemfd() throws {
        let folder = Folder()
        let path = folder.path + "/journal"
        let listener = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        try #require(bound == 0)
        let log = try AuditLog(.journal(socket: path))
        var record = AuditRecord(.command, name: "/bin/echo")
        record.error = "first\nHATCHERY_UID=0"
        try log.write(record)
        guard let small = try MessageSocket.receive(listener, capacity: 1 << 16, descriptorRoom: 1, dontWait: true) else {
            Issue.record("no datagram came")
            return
        }
        let text = String(decoding: small.bytes, as: UTF8.self)
        #expect(text.contains("HATCHERY_EVENT=command\n") && text.contains("\nHATCHERY_VERDICT=refused\n"))
        // The forged field is inside of a value whose length was told.
        #expect(text.contains("\nHATCHERY_ERROR\n\u{14}\0\0\0\0\0\0\0first\nHATCHERY_UID=0\n"))

        record.name = String(repeating: "x", count: 1 << 20)
        try log.write(record)
        guard var large = try MessageSocket.receive(listener, capacity: 1 << 16, descriptorRoom: 1, dontWait: true) else {
            Issue.record("no datagram came")
            return
        }
        #expect(large.bytes.isEmpty && large.descriptors.count == 1)
        let memory = large.descriptors.take(0)
        #expect((SealedMemory.sealedSize(memory.raw) ?? 0) > 1 << 20)
    }
}
