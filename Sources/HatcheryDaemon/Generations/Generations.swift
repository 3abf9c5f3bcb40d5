import Glibc
import HatcheryProtocol
import HatcherySystem
import Logging

/// Replaces zygotes without losing a request: reload, rotation, and the end of those that were replaced.
///
/// Old and new live side by side until every new one is ready: it has preloaded, was audited and passed its self-test. Then
/// requests go to the new ones from one moment to the next. An old one gets no more requests, answers the orders it has, and
/// ends; the children that it hatched live on, because the front is their parent (Docs/Decisions/0001).
final class Generations {
    private unowned let front: Front
    /// Reads the configuration again, from where the daemon had it.
    private let reread: () throws -> Configuration
    private(set) var changeover: Changeover?
    /// Replaced, and not gone yet.
    private var retired: [ObjectIdentifier: Zygote] = [:]
    private var numbers: [String: UInt32] = [:]
    /// Rotations that wait until something else is over.
    private var rotationsDue: [String] = []
    private var signalWaits = false

    init(front: Front, reread: @escaping () throws -> Configuration) {
        self.front = front
        self.reread = reread
    }

    /// The number of the next start of this zygote. Numbers of a name only grow.
    func next(of name: String) -> UInt32 {
        numbers[name, default: 0] += 1
        return numbers[name]!
    }

    /// Zygotes that are not among those which serve, for the listing: on their way, or leaving.
    var others: [Zygote] { (changeover?.all ?? []) + retired.values.sorted { $0.generation < $1.generation } }

    /// Processes of one zygote, of one new generation.
    func make(_ configuration: ZygoteConfiguration, _ settings: Settings, isCandidate: Bool) -> [Zygote] {
        let number = next(of: configuration.name)
        return (0..<configuration.instances).map { _ in
            Zygote(configuration, generation: number, settings: settings, front: front, isCandidate: isCandidate)
        }
    }

    // MARK: Reload

    /// SIGHUP: as `hatchery reload`, with the outcome in the log.
    func signalled() {
        guard changeover == nil || isRotating, !front.isStarting else {
            // The file may have changed since the one under way read it.
            signalWaits = true
            return
        }
        let log = front.log
        reload(only: nil) { outcome in
            switch outcome {
            case .success(let notes):
                log.notice("SIGHUP: reloaded")
                for note in notes { log.notice("\(note)") }
            case .failure(let error): log.error("SIGHUP: nothing was changed: \(error)")
            }
        }
    }

    /// Reads the configuration again and starts what it says.
    /// - Parameters:
    ///   - name: that zygote alone, as its section is now; nil for everything.
    ///   - told: called once, when the new serves or nothing was changed; with notes for the operator.
    func reload(only name: String?, _ told: @escaping (Result<[String], HatcheryError>) -> Void) {
        if isRotating, let changeover { give(up: changeover, "a reload came first") }
        guard changeover == nil, !front.isStarting, !front.lifecycle.isDraining else {
            let what =
                front.isStarting
                ? "the daemon is still starting"
                : front.lifecycle.isDraining ? "the daemon is ending" : "another reload is under way"
            told(.failure(HatcheryError(.overloaded, side: .front, detail: what, hint: "ask again when it is over")))
            return
        }
        front.lifecycle.reloading()
        let front = front
        func completion(_ outcome: Result<[String], HatcheryError>) {
            switch outcome {
            case .success: front.lifecycle.reloaded("Serving: reloaded")
            case .failure: front.lifecycle.reloaded("Serving: a reload failed, nothing was changed; the log has the reason")
            }
            told(outcome)
        }
        do throws(HatcheryError) {
            let (settings, notes) = try read(only: name)
            let wanted = settings.configuration.zygotes.filter { name == nil || $0.name == name }
            begin(Changeover(
                name.map { .reloadOf($0) } ?? .reload, settings: settings,
                candidates: Dictionary(uniqueKeysWithValues: wanted.map { ($0.name, make($0, settings, isCandidate: true)) }),
                notes: notes, completion: completion))
        } catch {
            completion(.failure(error))
        }
    }

    private func read(only name: String?) throws(HatcheryError) -> (Settings, [String]) {
        let old = front.configuration
        var notes: [String] = []
        do {
            var new = try reread()
            if let name {
                new = try Generations.replacing(name, of: old, from: new)
            } else {
                if new.socket != old.socket { notes.append("socket: counts from the daemon's next start") }
                if new.ids != old.ids { notes.append("ids: counts from the daemon's next start") }
                new.socket = old.socket
                if new.cgroup != old.cgroup { notes.append("cgroup: counts from the daemon's next start") }
                if new.nat != old.nat { notes.append("nat: counts from the daemon's next start") }
                new.ids = old.ids
                new.cgroup = old.cgroup
                new.nat = old.nat
            }
            try ConfigurationCheck.perform(new)
            return (try Settings(new), notes)
        } catch let error as HatcheryError {
            throw error
        } catch {
            throw HatcheryError(
                .invalidRequest, side: .front, detail: "the configuration is wrong: \(error)", hint: "nothing was changed")
        }
    }

    /// The configuration that is in force, with one zygote's section from a new one.
    static func replacing(_ name: String, of old: Configuration, from new: Configuration) throws(HatcheryError) -> Configuration {
        guard let section = new.zygotes.first(where: { $0.name == name }) else {
            throw HatcheryError(
                .notFound, side: .front, detail: "the configuration has no zygote \"\(name)\"",
                hint: "it has \(new.zygotes.map(\.name).joined(separator: ", ")); to remove one, reload everything")
        }
        guard old.profiles[section.profile] != nil else {
            throw HatcheryError(
                .invalidRequest, side: .front, detail: "profile \"\(section.profile)\" of zygote \"\(name)\" is new",
                hint: "reload everything: profiles count from then on")
        }
        var merged = old
        if let index = merged.zygotes.firstIndex(where: { $0.name == name }) {
            merged.zygotes[index] = section
        } else {
            merged.zygotes.append(section)
        }
        return merged
    }

    // MARK: Rotation

    private var isRotating: Bool {
        if case .rotation = changeover?.cause { true } else { false }
    }

    /// A zygote has served as many requests, or as long, as its configuration wants. Its successor has the same configuration.
    func rotate(_ name: String) {
        guard changeover == nil, !front.isStopping, !front.lifecycle.isDraining else {
            if !rotationsDue.contains(name) { rotationsDue.append(name) }
            return
        }
        guard let configuration = front.zygotes[name]?.first?.configuration else { return }
        let log = front.log
        let settings = front.settings
        begin(Changeover(
            .rotation(name), settings: settings, candidates: [name: make(configuration, settings, isCandidate: true)]
        ) { outcome in
            // The one that serves goes on; when its time or count is full once more, it is tried again.
            if case .failure(let error) = outcome { log.error("zygote \(name): not rotated: \(error)") }
        })
    }

    // MARK: The course of one

    private func begin(_ next: Changeover) {
        changeover = next
        // One that cannot even be started ends the changeover at once; those after it must not come to life any more.
        for zygote in next.all where !zygote.isRetired { zygote.start() }
    }

    /// A zygote became ready, or failed. Returns whether it is one of a generation on its way.
    func changed(_ zygote: Zygote) -> Bool {
        guard let changeover, changeover.all.contains(where: { $0 === zygote }) else { return false }
        switch changeover.progress {
        case .waiting: break
        case .complete: switchTo(changeover)
        case .failed(let message): give(up: changeover, message)
        }
        return true
    }

    private func give(up failed: Changeover, _ message: String) {
        changeover = nil
        for zygote in failed.all { retire(zygote) }
        failed.completion(.failure(HatcheryError(
            .setupFailed, side: .zygote, detail: message, hint: "what served before goes on serving; nothing was changed")))
        goOn()
    }

    /// One turn of the loop: no request sees half of it.
    private func switchTo(_ next: Changeover) {
        changeover = nil
        let names = next.cause == .reload ? Array(front.zygotes.keys) : Array(next.candidates.keys)
        var old: [Zygote] = []
        for name in names {
            old += front.zygotes[name] ?? []
            front.zygotes[name] = nil
        }
        front.zygotes.merge(next.candidates) { $1 }
        front.settings = next.settings
        front.doorkeeper.replace(rules: next.settings.rules)
        for zygote in next.all {
            zygote.takeOver()
            front.log.notice("zygote \(zygote.name): generation \(zygote.generation) serves, pid \(zygote.pid)")
        }
        for zygote in old {
            for sandbox in zygote.takeWaiting() { move(sandbox, to: next.candidates[zygote.name]?.first) }
            retire(zygote)
        }
        next.completion(.success(next.notes))
        goOn()
    }

    /// A request that waits for a zygote which was replaced goes to another.
    func move(_ sandbox: Sandbox, to zygote: Zygote?) {
        guard !sandbox.isFinished else { return }
        guard let zygote, zygote.configuration.kind == sandbox.zygote.configuration.kind else {
            sandbox.abort(HatcheryError(
                .lost, side: .zygote, detail: "zygote \(sandbox.zygote.name) was taken away by a reload", hint: "ask again"))
            return
        }
        sandbox.zygote = zygote
        if zygote.state == .ready { front.begin(sandbox) } else { zygote.enqueue(sandbox) }
    }

    private func retire(_ zygote: Zygote) {
        retired[ObjectIdentifier(zygote)] = zygote
        zygote.retire()
    }

    /// A replaced zygote's process is reaped, or never was.
    func gone(_ zygote: Zygote) { retired[ObjectIdentifier(zygote)] = nil }

    /// What had to wait for the end of a changeover. Not at once: its caller may still be in the middle of something.
    func goOn() {
        guard signalWaits || !rotationsDue.isEmpty else { return }
        front.loop.after(nanoseconds: 0) { [weak self] in
            guard let self, !self.front.isStopping, self.changeover == nil else { return }
            if self.signalWaits {
                self.signalWaits = false
                self.signalled()
            } else if !self.rotationsDue.isEmpty {
                self.rotate(self.rotationsDue.removeFirst())
            }
        }
    }

    /// The daemon ends.
    func stop() {
        for zygote in others { zygote.stop() }
    }
}
