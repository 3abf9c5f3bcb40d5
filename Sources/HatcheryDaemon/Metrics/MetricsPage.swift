import Glibc
import HatcheryProtocol
import HatcherySystem

/// Everything that is exported, family by family. Docs/Operating.md has the same names; a test compares.
extension Front {
    func metricsPage() -> MetricsText {
        var page = MetricsText()
        describeDaemon(&page)
        describeRequests(&page)
        describeZygotes(&page)
        describeProcess(&page)
        return page
    }

    private func describeDaemon(_ page: inout MetricsText) {
        page.family("hatchery_build_info", .gauge, "Always 1; the version is a label.", [([("version", Front.version)], 1)])
        page.single(
            "hatchery_ready", .gauge, "1 while every zygote is ready and the daemon is not draining.", readiness == nil ? 1 : 0)
        page.single("hatchery_clients", .gauge, "Clients that are connected.", Double(clients.count))
        page.single("hatchery_connections_total", .counter, "Clients that were let in.", Double(metrics.connections))
        let running = sandboxes.values.count { $0.isRunning }
        page.family(
            "hatchery_sandboxes", .gauge, "Sandboxes by state; waiting ones are in the queue.",
            [
                ([("state", "running")], Double(running)),
                ([("state", "starting")], Double(sandboxes.count - running - turnstile.depth)),
                ([("state", "waiting")], Double(turnstile.depth)),
            ])
        if identity.isDistinct {
            page.single("hatchery_free_id_pairs", .gauge, "Pairs of outer ids that no sandbox has.", Double(ids.available))
        }
    }

    private func describeRequests(_ page: inout MetricsText) {
        let spawns = metrics.spawns.sorted { $0.key < $1.key }
        page.histograms(
            "hatchery_spawn_seconds", "From the arrival of a request to the answer that its program runs.",
            spawns.flatMap { name, spawns in
                [
                    ([("zygote", name), ("nursery", "hit")], spawns.hit), ([("zygote", name), ("nursery", "miss")], spawns.miss),
                ]
            })
        page.family(
            "hatchery_nursery_hits_total", .counter, "Spawns that took a parked child.",
            spawns.map { ([("zygote", $0.key)], Double($0.value.hit.total)) })
        page.family(
            "hatchery_nursery_misses_total", .counter, "Spawns that had a child of their own cloned.",
            spawns.map { ([("zygote", $0.key)], Double($0.value.miss.total)) })
        let runs = metrics.runs.sorted { $0.key < $1.key }
        page.histograms(
            "hatchery_run_seconds", "Wall clock of programs that ended.",
            runs.map { ([("zygote", $0.key)], $0.value.seconds) })
        page.family(
            "hatchery_runs_total", .counter, "Programs that ended, by how.",
            runs.flatMap { name, runs in
                runs.verdicts.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                    ([("zygote", name), ("verdict", $0.key.name)], Double($0.value))
                }
            })
        page.family(
            "hatchery_refusals_total", .counter, "Requests that were answered by a failure, by its kind.",
            HatcheryError.Kind.allCases.map { ([("kind", "\($0)")], Double(metrics.refusals[$0] ?? 0)) })
        page.family(
            "hatchery_holds_total", .counter, "Requests that could not begin at once, by what was in the way.",
            Hold.allCases.map { ([("reason", $0.rawValue)], Double(metrics.holds[$0] ?? 0)) })
        page.histograms(
            "hatchery_queue_seconds", "How long those waited that left the queue to begin.", [([], metrics.queueSeconds)])
        page.family(
            "hatchery_syscall_denials_total", .counter, "System calls that a policy refused, as far as they are told.",
            metrics.denials.sorted { $0.key < $1.key }.map { ([("syscall", $0.key)], Double($0.value)) })
    }

    private func describeZygotes(_ page: inout MetricsText) {
        var number: [String: Int] = [:]
        let zygotes = configuration.zygotes.flatMap { self.zygotes[$0.name] ?? [] }.map { zygote in
            let listing = zygote.listing
            defer { number[listing.name, default: 0] += 1 }
            return (labels: [("zygote", listing.name), ("process", "\(number[listing.name] ?? 0)")] as MetricsText.Labels, listing)
        }
        func gauge(_ name: String, _ help: String, _ value: (ZygoteListing) -> Double) {
            page.family(name, .gauge, help, zygotes.map { ($0.labels, value($0.1)) })
        }
        gauge("hatchery_zygote_ready", "1 where this process of a zygote serves.") { $0.state == .ready ? 1 : 0 }
        gauge("hatchery_zygote_generation", "Which start of the zygote this process is.") { Double($0.generation) }
        gauge("hatchery_zygote_frozen_bytes", "Preloaded memory whose page tables no clone copies.") { Double($0.heap.bytes) }
        gauge("hatchery_zygote_private_bytes", "Anonymous memory of the process that is not frozen.") { Double($0.anonymousBytes) }
        gauge("hatchery_zygote_page_table_bytes", "Page tables of the process.") { Double($0.pageTableBytes) }
        gauge("hatchery_nursery_parked", "Children that are parked and ready.") { Double($0.parked) }
        page.family(
            "hatchery_zygote_restarts_total", .counter, "Starts of a zygote after one of its processes had died.",
            configuration.zygotes.map { ([("zygote", $0.name)], Double(metrics.restarts[$0.name] ?? 0)) })
    }

    /// What grows when something is left behind.
    private func describeProcess(_ page: inout MetricsText) {
        let memory = ProcessMemory(pid: getpid())
        page.single("hatchery_heap_bytes", .gauge, "Anonymous memory of the daemon itself.", Double(memory.anonymousBytes))
        page.single("hatchery_loop_registrations", .gauge, "Descriptors that the loop watches.", Double(loop.counts.registrations))
        page.single("hatchery_loop_timers", .gauge, "Deadlines that the loop holds, cancelled ones included.", Double(loop.counts.timers))
        page.single("hatchery_mounts", .gauge, "Mounts in the daemon's own namespace.", Double(ProcessCounts.mounts))
        let strangers = ProcessCounts.strangers(known: knownPIDs)
        page.single("hatchery_zombies", .gauge, "Ended children that nobody waits for.", Double(strangers.zombies))
        page.single("hatchery_unknown_children", .gauge, "Children that the daemon does not know.", Double(strangers.all))
        page.single("hatchery_audit_failures_total", .counter, "Lines of the audit that could not be written.", Double(audit.failures))
        page.family(
            "hatchery_log_lines_total", .counter, "Lines of the log, by level.",
            logs.counts.map { ([("level", $0.level)], Double($0.count)) })
        page.single("process_open_fds", .gauge, "Open descriptors.", Double(ProcessCounts.openDescriptors))
        page.single("process_max_fds", .gauge, "The most descriptors that may be open.", Double(ProcessCounts.mostDescriptors))
        page.single("process_cpu_seconds_total", .counter, "CPU time of the daemon itself.", ProcessCounts.cpuSeconds)
        page.single("process_start_time_seconds", .gauge, "When the daemon was started, since 1970.", startedAt)
    }

    /// Why the daemon is not ready, or nil.
    var readiness: String? {
        if lifecycle.isDraining { return "draining" }
        for zygote in zygotes.values.joined() where zygote.state != .ready { return "zygote \(zygote.name) is not ready" }
        return nil
    }
}
