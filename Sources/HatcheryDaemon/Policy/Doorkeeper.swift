import Glibc
import HatcheryProtocol
import HatcherySystem

/// Who may stay connected: limits on connections, on those who never greet, and on those who have nothing to do here.
final class Doorkeeper {
    private unowned let front: Front
    private(set) var rules: PeerRules
    private var connected: [uid_t: UInt32] = [:]
    private var sweep: EventLoop.Timer?

    init(front: Front, rules: PeerRules) {
        self.front = front
        self.rules = rules
    }

    private var limits: PolicyConfiguration.Connections { front.configuration.policy.connections }

    /// The configuration has changed. Who is connected stays, and is asked by the new rules with each request.
    func replace(rules: PeerRules) { self.rules = rules }

    // MARK: The door

    /// Why this peer cannot come in, or nil.
    func refusal(_ peer: Peer, connections: Int) -> HatcheryError? {
        let own = connected[peer.uid] ?? 0
        let detail: String
        if connections >= limits.total {
            detail = "\(connections) clients are connected (policy.connections.total)"
        } else if own >= limits.perUser {
            detail = "this user has \(own) connections (policy.connections.per_user)"
        } else {
            return nil
        }
        return HatcheryError(
            .overloaded, side: .front, detail: detail, hint: "close some, or use one connection for many requests",
            retryAfterNanoseconds: 1_000_000_000)
    }

    /// Says why and closes. The request number 0 means the connection itself.
    func turnAway(_ socket: borrowing Descriptor, _ error: HatcheryError) {
        var writer = FieldWriter()
        error.encode(into: &writer)
        _ = try? MessageSocket.send(
            socket.raw, Frame(kind: .failure, request: 0, body: writer.bytes).encoded(), dontWait: true)
        front.metrics.refusals[error.kind, default: 0] += 1
    }

    func entered(_ client: ClientConnection) {
        connected[client.uid, default: 0] += 1
        let number = client.number
        front.loop.after(nanoseconds: limits.greeting.nanoseconds) { [weak front] in
            guard let client = front?.clients[number], !client.saidHello else { return }
            client.dismiss(HatcheryError(.malformed, side: .front, detail: "no greeting came in time"))
        }
        scheduleSweep()
    }

    func left(_ client: ClientConnection) {
        guard let count = connected[client.uid] else { return }
        connected[client.uid] = count > 1 ? count - 1 : nil
    }

    // MARK: Idle clients

    private func scheduleSweep() {
        guard sweep == nil, let idle = limits.idle, !front.clients.isEmpty else { return }
        sweep = front.loop.after(nanoseconds: max(idle.nanoseconds / 4, 10_000_000)) { [weak self] in
            self?.sweep = nil
            self?.closeIdle(idle.nanoseconds)
            self?.scheduleSweep()
        }
    }

    private func closeIdle(_ limit: UInt64) {
        let now = MonotonicClock.now()
        for client in front.clients.values where client.leased.isEmpty && now - client.lastActivity >= limit {
            client.dismiss(
                HatcheryError(
                    .cancelled, side: .front, detail: "the connection was idle (policy.connections.idle)",
                    hint: "connect again when there is something to ask"))
        }
    }
}
