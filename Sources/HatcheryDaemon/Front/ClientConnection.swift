import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// One connected client: whole frames in, whole frames out, and the lease on everything that it asked for.
///
/// What a peer sends never traps: a malformed message gets a typed answer, and a peer that floods or does not read its
/// answers is disconnected alone.
final class ClientConnection {
    /// Answers that wait for a peer which does not read: of its running sandboxes, since it is not asked for more. Above it the
    /// peer is given up.
    static let queueLimit = 512

    let number: UInt64
    let peer: Peer
    var uid: uid_t { peer.uid }
    var gid: gid_t { peer.gid }
    var pid: pid_t { peer.pid }
    /// Open until `close`.
    private var socket: Descriptor?
    private weak var front: Front?
    private var registration: EventLoop.Registration?
    private var queue: [Outgoing] = []
    private(set) var isClosed = false
    private(set) var saidHello = false
    /// When its last message came, or the connection itself.
    private(set) var lastActivity = MonotonicClock.now()
    /// Sandboxes that end with this connection, by request number.
    var leased: [UInt32: Sandbox] = [:]

    private final class Outgoing {
        let bytes: [UInt8]
        let descriptors: [Int32]

        /// - Parameter descriptors: owned from here on.
        init(_ bytes: [UInt8], _ descriptors: [Int32]) {
            self.bytes = bytes
            self.descriptors = descriptors
        }

        deinit { for raw in descriptors { Glibc.close(raw) } }
    }

    init(number: UInt64, socket: consuming Descriptor, peer: Peer, front: Front) throws(SystemError) {
        self.number = number
        self.peer = peer
        self.socket = consume socket
        self.front = front
        let raw = self.socket?.raw ?? -1
        registration = try front.loop.watch(raw) { [weak self] ready in self?.handle(ready) }
    }

    private func handle(_ ready: EventPoll.Interest) {
        // A peer that has gone is told without being asked for, and found out by writing to it.
        if ready.contains(.write) || !queue.isEmpty { flush() }
        // A bounded number of messages for one turn, so that no client keeps the loop to itself.
        // SECURITY: and none while answers wait: whoever does not read them is not heard, or a thousand connections would have
        // each 512 answers of up to 64 KiB kept for them. Test: whoDoesNotReadIsNotHeard.
        // SECURITY: nor a user by many of them. Test: oneUsersMessagesEndWithTheirShareOfATurn.
        for _ in 0..<16 where !isClosed && queue.isEmpty {
            guard let front, front.turnBudget.isLeft(for: uid, in: front.loop.turn) else { return }
            let start = MonotonicClock.now()
            let goesOn = receiveOne()
            front.turnBudget.spend(MonotonicClock.now() - start, of: uid)
            if !goesOn { return }
        }
    }

    private func receiveOne() -> Bool {
        do throws(SystemError) {
            // Room for all that one message can bring: the kernel closes what finds none, in the thread that receives it.
            guard let front,
                var message = try MessageSocket.receive(
                    socket?.raw ?? -1, capacity: WireLimits.frameBytes + 1, descriptorRoom: MessageSocket.mostDescriptors,
                    dontWait: true)
            else { return false }
            // SECURITY: out of this message first of all: whatever becomes of it, they are closed off the loop. Test:
            // descriptorsWhoseClosingWaitsHoldNobodyUp.
            let descriptors = RequestDescriptors(message.descriptors.releaseAll(), of: uid, closer: front.closer)
            if message.isEndOfStream {
                close()
                return false
            }
            accept(message, descriptors, front)
            return true
        } catch {
            front?.log.debug("client \(number): \(error)")
            close()
            return false
        }
    }

    private func accept(_ message: borrowing MessageSocket.Message, _ descriptors: RequestDescriptors, _ front: Front) {
        lastActivity = MonotonicClock.now()
        // The request number is the peer's, where the message is long enough to have one.
        let request: UInt32 =
            message.bytes.count >= 12
            ? message.bytes.withUnsafeBytes {
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
            } : 0
        if message.truncated && message.bytes.count <= WireLimits.frameBytes && descriptors.count < WireLimits.descriptors {
            // Neither the message nor its descriptors were too much for the protocol: the daemon had no room for them.
            refuse(request, HatcheryError(
                .overloaded, side: .front, step: .descriptors, errno: EMFILE, detail: "recvmsg",
                hint: Hints.hint(.descriptors, EMFILE)))
            return
        }
        let frame: Frame
        do throws(Frame.Malformed) {
            if message.truncated && message.bytes.count > WireLimits.frameBytes {
                throw .tooLong(bytes: message.bytes.count)
            }
            frame = try Frame(decoding: message.bytes, descriptors: descriptors.count)
        } catch {
            refuse(request, HatcheryError(.malformed, side: .front, detail: error.description))
            return
        }
        if !saidHello && frame.kind != .hello {
            refuse(frame.request, HatcheryError(.malformed, side: .front, detail: "the first message must be hello"))
            return
        }
        if frame.kind == .hello { saidHello = true }
        front.handle(frame, descriptors, from: self)
    }

    func refuse(_ request: UInt32, _ error: HatcheryError) {
        front?.metrics.refusals[error.kind, default: 0] += 1
        var writer = FieldWriter()
        error.encode(into: &writer)
        send(Frame(kind: .failure, request: request, body: writer.bytes))
    }

    /// Sends a frame or queues it.
    /// - Parameter descriptors: owned by the frame from here on.
    func send(_ frame: Frame, descriptors: [Int32] = []) {
        guard !isClosed else {
            for raw in descriptors { Glibc.close(raw) }
            return
        }
        guard frame.fits else {
            // Never a trap: how long an answer gets may be a peer's doing.
            for raw in descriptors { Glibc.close(raw) }
            front?.log.error("an answer of \(frame.body.count) bytes does not fit a message")
            refuse(frame.request, HatcheryError(.lost, side: .front, detail: "the answer does not fit a message"))
            return
        }
        var frame = frame
        frame.descriptorCount = UInt16(descriptors.count)
        queue.append(Outgoing(frame.encoded(), descriptors))
        flush()
    }

    private func flush() {
        while let next = queue.first {
            do throws(SystemError) {
                guard try MessageSocket.send(socket?.raw ?? -1, next.bytes, descriptors: next.descriptors, dontWait: true) else {
                    break
                }
                queue.removeFirst()
            } catch {
                close()
                return
            }
        }
        if queue.count > ClientConnection.queueLimit {
            front?.log.warning("client \(number) (uid \(uid)) does not read its answers; closing it")
            close()
            return
        }
        registration?.setInterest(queue.isEmpty ? .read : .write)
    }

    /// Says why, and closes: the request number 0 means the connection itself.
    func dismiss(_ error: HatcheryError) {
        refuse(0, error)
        close()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        registration?.cancel()
        registration = nil
        queue.removeAll()
        // Half-closing tells the peer at once, also where a forked copy of its own descriptor is still open somewhere.
        if let socket = socket.take() {
            _ = shutdown(socket.raw, Int32(SHUT_RDWR))
            front?.closer.closeConnection(socket.release(), of: uid)
        }
        front?.clientClosed(self)
    }
}
