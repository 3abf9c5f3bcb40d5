import Foundation
import Glibc
import HatcheryProtocol
import HatcherySystem

/// Two children of a generation that is about to serve are asked for one value of each random generator, and must not agree in
/// any (ACCEPTANCE A23). They are children like all others, behind every layer; what they say is the bootstrap's own code.
final class SelfTest: HatchedChildOwner {
    /// What both kinds of zygote know beside the operator's own functions.
    static let target = "hatchery.zygote:random_values"
    static let outputLimit = 64 << 10
    static let deadlineNanoseconds: UInt64 = 30_000_000_000
    /// How long it waits for two ids where all are lent, and for descriptors where there are none.
    static let retryNanoseconds: UInt64 = 100_000_000

    private final class Subject {
        var child: HatchedChild?
        var pipe: Descriptor?
        var registration: EventLoop.Registration?
        var output: [UInt8] = []
        /// nil while it lives.
        var end: Ended?

        deinit { registration?.cancel() }
    }

    private unowned let front: Front
    private unowned let zygote: Zygote
    private let settings: Settings
    private var subjects: [Subject] = []
    private var timer: EventLoop.Timer?
    /// Told once: nil where the children differ, else what is wrong.
    private var completion: ((String?) -> Void)?

    init(_ zygote: Zygote, settings: Settings, front: Front, completion: @escaping (String?) -> Void) {
        self.zygote = zygote
        self.settings = settings
        self.front = front
        self.completion = completion
    }

    func start() {
        guard !front.identity.isDistinct || front.ids.available >= 2 else {
            timer = front.loop.after(nanoseconds: SelfTest.retryNanoseconds) { [weak self] in self?.start() }
            return
        }
        timer = front.loop.after(nanoseconds: SelfTest.deadlineNanoseconds) { [weak self] in
            self?.finish("its children did not answer in time")
        }
        do throws(HatcheryError) {
            let request = SpawnRequest(zygote: zygote.name, profile: zygote.configuration.profile)
            let granted = try settings.admission.admit(request, zygote: zygote.configuration)
            do throws(SystemError) {
                for _ in 0..<2 { subjects.append(try hatch(request, granted)) }
            } catch {
                if Shortage.isMeant(by: error.errno) { startLater() } else { finish("\(error)") }
            }
        } catch {
            finish("\(error)")
        }
    }

    /// Says nothing about the zygote: two other children are asked, until the zygote's time to start is over.
    private func startLater() {
        letGo()
        timer = front.loop.after(nanoseconds: SelfTest.retryNanoseconds) { [weak self] in self?.start() }
    }

    private func hatch(_ request: SpawnRequest, _ granted: Admission.Granted) throws(SystemError) -> Subject {
        let subject = Subject()
        let orders = SpawnOrders(
            request: request, granted: granted, hasTwoIDs: front.identity.isDistinct,
            groupsMustBeEmpty: front.identity.isDistinct)
        let child = try HatchedChild(front: front, zygote: zygote, profile: granted.profile, limits: granted.limits)
        child.owner = self
        subject.child = child
        child.setUp { [weak self, weak subject] () throws(SystemError) in
            guard let self, let subject, let child = subject.child else { return }
            let filters = self.settings.filters(for: granted.profileName)
            try child.send(orders.setup(filters).encoded(), descriptors: [filters.payload, filters.initFilter])
            try self.launch(subject, orders.launch())
        }
        return subject
    }

    private func launch(_ subject: Subject, _ order: LaunchOrder) throws(SystemError) {
        guard let child = subject.child else { return }
        let plan = try SealedMemory.make(
            name: "self-test", bytes: LaunchPlan(mode: .call, target: Array(SelfTest.target.utf8)).encoded())
        let null = try Files.open("/dev/null", flags: O_RDONLY)
        let pipe = try HatcherySystem.Pipe()
        try pipe.readEnd.setNonblocking()
        let raw = pipe.readEnd.raw
        // Before it is watched: should the order fail, the registration must end before the descriptor does.
        subject.pipe = consume pipe.readEnd
        subject.registration = try front.loop.watch(raw) { [weak self, weak subject] _ in
            if let subject { self?.read(subject) }
        }
        // Both streams go into one pipe: the answer is the last line, and anything else is worth reading where it is missing.
        try child.send(order.encoded(), descriptors: [null.raw, pipe.writeEnd.raw, pipe.writeEnd.raw, plan.raw])
    }

    private func read(_ subject: Subject) {
        guard let raw = subject.pipe?.raw else { return }
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = Glibc.read(raw, &chunk, chunk.count)
            if count < 0 { return }
            if count == 0 || subject.output.count > SelfTest.outputLimit { break }
            subject.output += chunk[..<count]
        }
        subject.registration?.cancel()
        subject.registration = nil
        subject.pipe = nil
    }

    // MARK: What the children report

    func childParked(_ child: HatchedChild) {}
    func childReady(_ child: HatchedChild) {}

    func childFailed(_ child: HatchedChild, _ step: Step, _ errno: Int32) {
        // One that was let go of has nothing to say any more.
        guard subjects.contains(where: { $0.child === child }) else { return }
        if step == .descriptors && Shortage.isMeant(by: errno) { return startLater() }
        finish("\(step.side.name): \(step.name): \(ErrnoNames.describe(errno))")
    }

    func childEnded(_ child: HatchedChild, _ ended: Processes.Ended) {
        guard let subject = subjects.first(where: { $0.child === child }) else { return }
        read(subject)
        subject.end = child.state.verdict(id: "", cpuLimitNanoseconds: .max, usage: ended.usage)
        subject.child = nil
        if subjects.count == 2, subjects.allSatisfy({ $0.end != nil }) { judge() }
    }

    private func judge() {
        var answers: [[String: Any]] = []
        for subject in subjects {
            let text = String(decoding: subject.output, as: UTF8.self)
            guard subject.end?.verdict == .exited, subject.end?.exitCode == 0, let answer = SelfTest.answer(of: text) else {
                finish("a child could not tell its random numbers:\n\(text.plain(limitBytes: 4000))")
                return
            }
            answers.append(answer)
        }
        let same = SelfTest.agreements(answers[0], answers[1])
        finish(
            same.isEmpty
                ? nil
                : "two children of it have the same random numbers (\(same.joined(separator: ", "))); something in its preload "
                    + "keeps them from being made new")
    }

    /// The object in the last line.
    static func answer(of text: String) -> [String: Any]? {
        guard let line = text.split(separator: "\n").last,
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], !object.isEmpty
        else { return nil }
        return object
    }

    /// The generators in which two children agree, or that one of them does not have.
    static func agreements(_ first: [String: Any], _ second: [String: Any]) -> [String] {
        Set(first.keys).union(second.keys).sorted().filter { name in
            func values(_ answer: [String: Any]) -> [String]? {
                answer[name].map { value in (value as? [Any] ?? [value]).map { "\($0)" } }
            }
            guard let ours = values(first), let theirs = values(second), ours.count == theirs.count else { return true }
            return zip(ours, theirs).contains { $0 == $1 }
        }
    }

    // MARK: End

    private func finish(_ problem: String?) {
        timer?.cancel()
        let told = completion
        completion = nil
        cancel()
        told?(problem)
    }

    /// Ends what is left; nothing is told.
    func cancel() {
        completion = nil
        letGo()
    }

    private func letGo() {
        timer?.cancel()
        for subject in subjects {
            subject.child?.giveUp()
            subject.registration?.cancel()
            subject.registration = nil
            subject.pipe = nil
        }
        subjects = []
    }
}
