import Glibc
import Hatchery

/// One spawn after another: hand-off, first byte, end; nursery hits and misses apart.
struct Spawns {
    let client: HatcheryClient
    let options: Options

    struct Results {
        var hit = LifeSeries()
        var miss = LifeSeries()
        var unfrozen = LifeSeries()
        var ballast = LifeSeries()
        var bareHit = LifeSeries()
        var execHit = LifeSeries()
        var execMiss = LifeSeries()
        var lookupHit = LifeSeries()
        var lookupMiss = LifeSeries()
        var bubblewrap: Samples?
    }

    private static let printOne = Payload.python(code: "print(1)")

    func measure() async throws -> Results {
        var results = Results()
        func python(_ zygote: String, hit: Bool) -> LifePlan {
            LifePlan(zygote: zygote, payload: Spawns.printOne, wantsHit: hit, readsFirstByte: true, pauseMilliseconds: LifePlan.pauseMilliseconds(hit))
        }
        func exec(_ zygote: String, hit: Bool) -> LifePlan {
            LifePlan(zygote: zygote, payload: .program("/bin/true"), wantsHit: hit, readsFirstByte: false, pauseMilliseconds: LifePlan.pauseMilliseconds(hit))
        }
        results.hit = try await python("pandas", hit: true).measure(options.samples, on: client)
        results.bareHit = try await python("bare", hit: true).measure(options.samples, on: client)
        let misses = try await LifePlan.measureInTurn(
            ["pandas-miss", "pandas-unfrozen", "pandas-ballast"].map { python($0, hit: false) }, options.samples, on: client)
        (results.miss, results.unfrozen, results.ballast) = (misses[0], misses[1], misses[2])
        results.execHit = try await exec("exec", hit: true).measure(options.samples, on: client)
        results.execMiss = try await exec("exec-miss", hit: false).measure(options.samples, on: client)
        func lookup(_ zygote: String, hit: Bool) -> LifePlan {
            LifePlan(
                zygote: zygote, payload: .call("is-prime", json: "[7919]", zygote: zygote), wantsHit: hit, readsFirstByte: true,
                pauseMilliseconds: LifePlan.pauseMilliseconds(hit))
        }
        results.lookupHit = try await lookup("lookup", hit: true).measure(options.samples, on: client)
        results.lookupMiss = try await lookup("lookup-miss", hit: false).measure(options.samples, on: client)
        results.bubblewrap = try bubblewrap()
        return results
    }

    /// nil where it is not installed, or may not make namespaces here.
    private func bubblewrap() throws -> Samples? {
        let program = Program("/usr/bin/bwrap", ["--ro-bind", "/", "/", "--unshare-all", "true"])
        guard access(program.path, X_OK) == 0, (try? program.timed()) != nil else { return nil }
        progress("\(options.bubblewrapSamples) runs of bwrap")
        var samples = Samples()
        for _ in 0..<options.bubblewrapSamples {
            samples.append(try program.timed())
            pause(milliseconds: 4)
        }
        return samples
    }
}

extension Spawns.Results {
    func addRows(to report: inout Report, floors: Floors) {
        addHits(to: &report, f0: floors.f0)
        addMisses(to: &report, floors: floors)
        addExec(to: &report, f0: floors.f0)
        addSwift(to: &report)
    }

    private func addHits(to report: inout Report, f0: Double) {
        let section = "Nursery hit: Python with numpy and pandas, print(1), all layers"
        report.add(
            Row(
                section, "request -> pid and descriptors in hand", hit.handOff,
                goals: [
                    .atMost(3, "p50 <= 3 F0", hit.handOff.median / f0),
                    .atMost(12, "p99 <= 12 F0", hit.handOff.percentile(99) / f0),
                ], note: hit.note))
        report.add(Row(section, "  of which in the front", hit.front))
        report.add(
            Row(
                section, "request -> first byte", hit.firstByte,
                goals: [.atMost(8, "p50 <= 8 F0", hit.firstByte.median / f0)]))
        report.add(Row(section, "request -> sandbox gone", hit.ended))
        report.add(Row(section, "CPU time of its processes, from the clone on", hit.cpu))
        report.add(Row(section, "bare Python: request -> pid in hand", bareHit.handOff, note: bareHit.note))
        report.add(Row(section, "bare Python: request -> first byte", bareHit.firstByte))
    }

    private func addMisses(to report: inout Report, floors: Floors) {
        let section = "Nursery miss: the same, without a nursery"
        report.add(Row(section, "request -> pid and descriptors in hand", miss.handOff, note: miss.note))
        report.add(Row(section, "  of which in the front", miss.front))
        report.add(
            Row(
                section, "request -> first byte", miss.firstByte,
                goals: [.atMost(0.35, "p50 <= 0.35 L", miss.firstByte.median / floors.isolatedLoaded)],
                note: "there is no recycling of network namespaces yet, so that row is missing"))
        report.add(Row(section, "request -> sandbox gone", miss.ended))
        report.add(Row(section, "CPU time of its processes", miss.cpu))
        report.add(Row(section, "freeze: false, request -> first byte", unfrozen.firstByte))
        report.add(Row(section, "freeze: false, request -> sandbox gone", unfrozen.ended))
        report.add(Row(section, "freeze: false, CPU time of its processes", unfrozen.cpu))
        report.add(
            Row(
                section, "1 GiB more, frozen: request -> pid in hand", ballast.handOff,
                goals: [.atMost(1.05, "p50 + 5 % at most", ballast.handOff.median / miss.handOff.median)]))
        report.add(
            Row(
                section, "1 GiB more, frozen: request -> first byte", ballast.firstByte,
                goals: [.atMost(1.05, "p50 + 5 % at most", ballast.firstByte.median / miss.firstByte.median)]))
        report.add(Row(section, "1 GiB more, frozen: request -> sandbox gone", ballast.ended))
        report.add(Row(section, "1 GiB more, frozen: CPU time of its processes", ballast.cpu))
    }

    private func addSwift(to report: inout Report) {
        let section = "Swift zygote (a table of 40 MB): a handler that looks one number up"
        report.add(Row(section, "hit: request -> pid and descriptors in hand", lookupHit.handOff, note: lookupHit.note))
        report.add(Row(section, "hit: request -> first byte", lookupHit.firstByte))
        report.add(Row(section, "hit: request -> sandbox gone", lookupHit.ended))
        report.add(Row(section, "miss: request -> first byte", lookupMiss.firstByte, note: lookupMiss.note))
        report.add(Row(section, "miss: request -> sandbox gone", lookupMiss.ended))
    }

    private func addExec(to report: inout Report, f0: Double) {
        let section = "Exec zygote: /bin/true"
        var goals: [Goal] = []
        if let bubblewrap { goals = [.atMost(0.2, "p50 <= 1/5 of bwrap", execHit.ended.median / bubblewrap.median)] }
        report.add(
            Row(section, "hit: request -> pid and descriptors in hand", execHit.handOff, note: execHit.note))
        report.add(Row(section, "hit: request -> exit seen by the client", execHit.ended, goals: goals))
        report.add(
            Row(section, "miss: request -> pid and descriptors in hand", execMiss.handOff, note: execMiss.note))
        report.add(Row(section, "miss: request -> exit seen by the client", execMiss.ended))
        report.add(Row(section, "miss: CPU time of its processes", execMiss.cpu))
        if let bubblewrap {
            report.add(Row(section, "bwrap --ro-bind / / --unshare-all true", bubblewrap))
        } else {
            report.add(Row(section, "bwrap: not installed, or refused here", figure: .nan, unit: "us", samples: 0))
        }
    }
}
