import HatcheryProtocol

/// What `hatchery zygotes` shows of one.
extension Zygote {
    var listing: ZygoteListing {
        var listing = ZygoteListing(
            name: name, kind: configuration.kind.rawValue, state: .starting, generation: generation, pid: pid)
        listing.spawned = spawned
        listing.parked = UInt32(nursery?.depth ?? 0)
        listing.nurseryHits = nursery?.hits ?? 0
        listing.nurseryMisses = nursery?.misses ?? 0
        if state == .ready {
            listing.heap = heap
            let status = ProcessMemory(pid: pid)
            listing.pageTableBytes = status.pageTableBytes
            listing.anonymousBytes = status.anonymousBytes
            listing.handlers = handlers
            listing.findings = findings
        }
        switch state {
        case .starting, .testing: listing.state = .starting
        case .ready: listing.state = .ready
        case .failed(let message):
            listing.state = .failed
            listing.message = String(message.prefix(16_000))
        }
        if isRetired { listing.state = .retiring }
        return listing
    }
}
