import Glibc
import HatcherySystem

extension Front {
    /// So many of each kind are listed; the totals count all.
    private static let dumpLimit = 100

    /// SIGUSR1: what the daemon has in hand, as lines of the log. For the operator who wonders what it is doing.
    func dumpState() {
        let running = sandboxes.values.count { $0.isRunning }
        log.notice(
            "state: \(clients.count) clients, \(sandboxes.count) sandboxes (\(running) running, \(turnstile.starting) being set up, \(turnstile.depth) waiting), \(ids.available) id pairs free, \(ProcessCounts.openDescriptors) descriptors, \(loop.counts.registrations) watched, \(loop.counts.timers) timers"
        )
        for zygote in configuration.zygotes.flatMap({ zygotes[$0.name] ?? [] }) {
            let listing = zygote.listing
            log.notice(
                "state: zygote \(listing.name): \(listing.state.name), generation \(listing.generation), pid \(listing.pid), \(listing.spawned) spawned, \(listing.parked) parked, \(listing.nurseryHits) hits, \(listing.nurseryMisses) misses"
            )
        }
        for holder in turnstile.holders.prefix(Front.dumpLimit) {
            log.notice("state: uid \(holder.uid): \(holder.running) sandboxes, \(holder.memoryBytes >> 20) MiB of limits")
        }
        for client in clients.values.sorted(by: { $0.number < $1.number }).prefix(Front.dumpLimit) {
            log.notice("state: client \(client.number): uid \(client.uid), pid \(client.pid), \(client.leased.count) sandboxes")
        }
        for sandbox in sandboxes.values.sorted(by: { $0.arrival < $1.arrival }).prefix(Front.dumpLimit) {
            let age = (MonotonicClock.now() - sandbox.arrival) / 1_000_000
            let state = sandbox.isFinished ? "ending" : sandbox.isRunning ? "running" : "being set up"
            log.notice(
                "state: sandbox \(sandbox.id): \(state), uid \(sandbox.client.uid), zygote \(sandbox.zygote.name), \(age) ms old")
        }
    }
}
