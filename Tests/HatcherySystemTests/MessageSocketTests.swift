import CHatchery
import Glibc
import HatcherySystem
import Testing

@Suite(.serialized) struct MessageSocketTests {
    private func inode(_ raw: Int32) throws -> UInt64 { UInt64(try Files.status(raw).st_ino) }

    @Test func descriptorsPassInTheirOrderAndCloseOnExec() throws {
        let marker = Marker()
        do {
            let pair = try MessageSocket.Pair()
            let first = try marker.make()
            let second = try marker.make()
            try MessageSocket.send(pair.first.raw, [1, 2, 3], descriptors: [first.raw, second.raw])
            let received = try MessageSocket.receive(pair.second.raw, capacity: 64, descriptorRoom: 4)
            guard let message = consume received else {
                Issue.record("no message")
                return
            }
            #expect(message.bytes == [1, 2, 3])
            let isWhole = !message.truncated && !message.isEndOfStream
            #expect(isWhole)
            #expect(message.descriptors.count == 2)
            #expect(try inode(message.descriptors.raw(0)) == inode(first.raw))
            #expect(try inode(message.descriptors.raw(1)) == inode(second.raw))
            #expect(hatchery_fcntl(message.descriptors.raw(0), F_GETFD, 0) & FD_CLOEXEC != 0)
            #expect(try marker.count() == 4)
        }
        #expect(try marker.count() == 0, "what nobody took is closed")
    }

    /// One more than the room fits into what CMSG_SPACE rounds up to: every number of descriptors is tried.
    @Test(arguments: 0...5)
    func descriptorsBeyondTheRoomAreToldAndClosed(room: Int) throws {
        let marker = Marker()
        do {
            let pair = try MessageSocket.Pair()
            let file = try marker.make()
            for sent in 0...6 {
                try MessageSocket.send(pair.first.raw, [7], descriptors: [Int32](repeating: file.raw, count: sent))
                do {
                    let received = try MessageSocket.receive(pair.second.raw, capacity: 64, descriptorRoom: room)
                    guard let message = consume received else {
                        Issue.record("no message")
                        return
                    }
                    #expect(message.truncated == (sent > room), "\(sent) into room for \(room)")
                    #expect(message.descriptors.count == min(sent, room))
                    #expect(try marker.count() == 1 + min(sent, room))
                }
                #expect(try marker.count() == 1)
            }
        }
        #expect(try marker.count() == 0)
    }

    @Test func bytesBeyondTheCapacityAreTold() throws {
        let pair = try MessageSocket.Pair()
        for (length, isTruncated) in [(8, false), (9, true)] {
            try MessageSocket.send(pair.first.raw, [UInt8](repeating: 5, count: length))
            let received = try MessageSocket.receive(pair.second.raw, capacity: 8, descriptorRoom: 0)
            guard let message = consume received else {
                Issue.record("no message")
                return
            }
            #expect(message.truncated == isTruncated)
            #expect(message.bytes == [UInt8](repeating: 5, count: 8))
        }
    }

    @Test func aMessageIsWholeOrNotThere() throws {
        let pair = try MessageSocket.Pair()
        let nothing = try MessageSocket.receive(pair.second.raw, capacity: 8, descriptorRoom: 0, dontWait: true)
        if case .some = nothing { Issue.record("a message that nobody sent") }
        try MessageSocket.send(pair.first.raw, [1])
        try MessageSocket.send(pair.first.raw, [2])
        for expected: UInt8 in [1, 2] {
            let received = try MessageSocket.receive(pair.second.raw, capacity: 8, descriptorRoom: 0)
            guard let message = consume received else {
                Issue.record("no message")
                return
            }
            #expect(message.bytes == [expected])
        }
    }

    @Test func aClosedPeerIsTheEndOfTheStream() throws {
        var pair = try MessageSocket.Pair()
        pair.first = try Marker().make()
        let received = try MessageSocket.receive(pair.second.raw, capacity: 8, descriptorRoom: 0)
        guard let message = consume received else {
            Issue.record("no message")
            return
        }
        let isEnd = message.isEndOfStream
        #expect(isEnd)
        #expect(throws: SystemError("sendmsg", errno: EPIPE)) { try MessageSocket.send(pair.second.raw, [1]) }
    }

    @Test func aFullQueueIsToldAndNotWaitedFor() throws {
        let pair = try MessageSocket.Pair()
        var sent = 0
        while sent < 10_000, try MessageSocket.send(pair.first.raw, [UInt8](repeating: 0, count: 4096), dontWait: true) { sent += 1 }
        #expect((1..<10_000).contains(sent))
    }

    @Test func aListenerHasItsModeAndKnowsItsPeers() throws {
        let scratch = try ScratchDirectory()
        let path = scratch.path + "/socket"
        let listener = try MessageSocket.listen(path: path, mode: 0o600)
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let none = try MessageSocket.accept(listener.raw)
        if case .some = none { Issue.record("a connection that nobody made") }
        let client = try MessageSocket.connect(path: path)
        let accepted = try MessageSocket.accept(listener.raw)
        guard let server = consume accepted else {
            Issue.record("no connection")
            return
        }
        let peer = try MessageSocket.peer(server.raw)
        #expect(peer.pid == getpid() && peer.uid == getuid() && peer.gid == getgid())
        try MessageSocket.send(client.raw, [1])
        #expect(throws: SystemError("bind", errno: EADDRINUSE, subject: path)) {
            _ = try MessageSocket.listen(path: path, mode: 0o600).raw
        }
        let long = String(repeating: "x", count: 108)
        #expect(throws: SystemError("connect", errno: ENAMETOOLONG, subject: long)) { _ = try MessageSocket.connect(path: long).raw }
    }

    @Test func whatAPeerSaidBeforeItResetTheConnectionIsRead() throws {
        var pair = try MessageSocket.Pair()
        try MessageSocket.send(pair.first.raw, [1], dontWait: true)
        try MessageSocket.send(pair.second.raw, [7, 7], dontWait: true)
        // With the 1 unread, which makes it a reset.
        pair.second = Descriptor(owning: try checkErrno(dup(STDERR_FILENO), "dup"))
        var received: [[UInt8]] = []
        for _ in 0..<2 {
            let message = try #require(try MessageSocket.receive(pair.first.raw, capacity: 16, descriptorRoom: 0, dontWait: true)?.bytes)
            received.append(message)
        }
        #expect(received == [[7, 7], []])
    }
}
