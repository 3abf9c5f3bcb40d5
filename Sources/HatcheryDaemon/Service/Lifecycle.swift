import Glibc
import HatcheryProtocol
import HatcherySystem

/// Start, watchdog, drain and end of the daemon, as the service manager and the operator see them.
final class Lifecycle {
    /// While something takes time, the manager hears so this often, and is asked for this much more time than it will take.
    static let reportNanoseconds: UInt64 = 1_000_000_000
    static let marginNanoseconds: UInt64 = 10_000_000_000

    private unowned let front: Front
    let manager: ServiceManager
    private(set) var isServing = false
    /// When the drain ends, whatever still runs; nil where there is none.
    private(set) var drainDeadline: UInt64?
    private var lastStatus = ""

    var isDraining: Bool { drainDeadline != nil }

    init(front: Front, manager: ServiceManager) {
        self.front = front
        self.manager = manager
    }

    // MARK: Start

    func begin() {
        if let interval = manager.watchdogNanoseconds { watch(interval / 2) }
        report()
    }

    /// From the loop itself: a loop that hangs is what the watchdog is there to find.
    private func watch(_ interval: UInt64) {
        manager.watchdog()
        front.loop.after(nanoseconds: interval) { [weak self] in self?.watch(interval) }
    }

    func serve() {
        isServing = true
        lastStatus = status
        manager.ready(status)
    }

    /// Tells what goes on, again and again: a preload may take longer than the manager's own limit for a start.
    private func report() {
        guard manager.isPresent else { return }
        let text = status
        if text != lastStatus { manager.status(text) }
        lastStatus = text
        if let deadline = drainDeadline {
            let now = MonotonicClock.now()
            manager.extendTimeout(nanoseconds: (deadline > now ? deadline - now : 0) + Lifecycle.marginNanoseconds)
        } else if !isServing {
            manager.extendTimeout(nanoseconds: Lifecycle.marginNanoseconds)
        }
        front.loop.after(nanoseconds: Lifecycle.reportNanoseconds) { [weak self] in self?.report() }
    }

    private var status: String {
        let zygotes = front.zygotes.values.joined()
        let ready = "\(zygotes.count { $0.state == .ready }) of \(zygotes.count) zygotes ready"
        let running = "\(front.sandboxes.count) sandboxes"
        if isDraining { return "Draining: \(running) left" }
        return isServing ? "Serving: \(ready), \(running)" : "Starting: \(ready)"
    }

    // MARK: Reload

    func reloading() { manager.reloading() }

    /// - Parameter outcome: one line, for the status.
    func reloaded(_ outcome: String) {
        manager.ready(outcome)
        lastStatus = outcome
    }

    // MARK: End

    /// SIGTERM or SIGINT: no new requests, and what runs may end, for a limited time. The second one ends it at once.
    func terminate(_ name: String) {
        let limit = front.configuration.drain.nanoseconds
        guard !isDraining, limit > 0, !front.sandboxes.isEmpty else {
            front.log.info("\(name): stopping\(isDraining ? " at once" : "")")
            front.stop()
            return
        }
        front.log.notice("\(name): draining: \(front.sandboxes.count) sandboxes have \(front.configuration.drain) to end")
        drainDeadline = MonotonicClock.now() + limit
        manager.stopping(status)
        manager.extendTimeout(nanoseconds: limit + Lifecycle.marginNanoseconds)
        // A socket of the manager's keeps new clients until our successor takes them; to others we are gone.
        front.stopListening()
        front.loop.after(nanoseconds: limit) { [weak self] in
            guard let self else { return }
            front.log.warning("the time to drain is over: \(front.sandboxes.count) sandboxes are ended")
            front.stop()
        }
    }

    func sandboxForgotten() {
        guard isDraining, front.sandboxes.isEmpty else { return }
        front.log.info("drained: stopping")
        front.stop()
    }

    /// What a request gets that comes while the daemon drains.
    var refusal: HatcheryError? {
        guard let deadline = drainDeadline else { return nil }
        let now = MonotonicClock.now()
        return HatcheryError(
            .overloaded, side: .front, step: .admit, detail: "the daemon is ending and takes no new requests",
            hint: "connect again once it is back", retryAfterNanoseconds: deadline > now ? deadline - now : 0)
    }

    func ending() { manager.stopping("Stopping: \(front.sandboxes.count) sandboxes are ended") }
}
