import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySteps
import HatcherySystem

/// Runs the tasks of a phase: one after the other, services beside them. The first failure ends it.
final class TaskLoop {
    /// How long a service may take until it takes connections, where its entry does not say.
    static let usualReadiness: UInt64 = 30_000_000_000
    /// Between asking services to end and ending them.
    static let grace: UInt64 = 2_000_000_000
    private static let probeMilliseconds: Int32 = 20

    /// What is waited for.
    private enum Waiting {
        case nothing
        case task(Int)
        case port(Int, deadline: UInt64)
    }

    private let orders: StepOrders
    private let deadline: UInt64
    private let childSignal: Descriptor
    private var running: [Int: RunningTask] = [:]
    /// Pipes of tasks that have ended, which something left behind still holds.
    private var leftovers: [TaskStream] = []
    private var waiting = Waiting.nothing
    private var next = 0
    private var hasFailed = false

    init(_ orders: StepOrders) {
        self.orders = orders
        deadline = orders.timeNanoseconds == 0 ? .max : MonotonicClock.now() &+ orders.timeNanoseconds
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGCHLD)
        sigprocmask(SIG_BLOCK, &set, nil)
        childSignal = Descriptor(owning: signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK)))
    }

    func run() throws(SystemError) {
        while !hasFailed {
            if case .nothing = waiting {
                guard next < orders.tasks.count else { break }
                start(next)
                next += 1
                continue
            }
            turn(milliseconds: timeout())
            reap()
            checkTimes()
        }
        stopServices()
    }

    // MARK: Starting

    private func start(_ number: Int) {
        let task = orders.tasks[number]
        Report.send(StepEvent(.started, task: number))
        do throws(SystemError) {
            let started = try RunningTask(task, number: number, environment: orders.environment, outputBytes: orders.outputBytes)
            running[number] = started
        } catch {
            fail(number, StepEnd(.notStarted, value: error.errno))
            return
        }
        if !task.isBackground {
            waiting = .task(number)
        } else if task.port != 0 {
            let limit = task.timeNanoseconds == 0 ? TaskLoop.usualReadiness : task.timeNanoseconds
            waiting = .port(number, deadline: MonotonicClock.now() &+ limit)
        }
    }

    // MARK: Waiting

    private func timeout() -> Int32 {
        var until = deadline
        switch waiting {
        case .port: return TaskLoop.probeMilliseconds
        case .task(let number): until = min(until, running[number]?.deadline ?? .max)
        case .nothing: break
        }
        if until == .max { return -1 }
        let now = MonotonicClock.now()
        return until <= now ? 0 : Int32(clamping: (until - now) / 1_000_000 + 1)
    }

    /// Waits for output or the end of a task, and passes output on.
    private func turn(milliseconds: Int32) {
        let streams = running.values.flatMap(\.streams) + leftovers
        var descriptors = [pollfd(fd: childSignal.raw, events: Int16(POLLIN), revents: 0)]
        descriptors += streams.map { pollfd(fd: $0.isOpen ? $0.raw : -1, events: Int16(POLLIN), revents: 0) }
        guard poll(&descriptors, nfds_t(descriptors.count), milliseconds) > 0 else { return }
        for (stream, polled) in zip(streams, descriptors.dropFirst()) where polled.revents != 0 { stream.pump(reads: 16) }
        leftovers.removeAll { !$0.isOpen }
        var record = signalfd_siginfo()
        while read(childSignal.raw, &record, MemoryLayout.size(ofValue: record)) > 0 {}
    }

    private func reap() {
        for (number, task) in running.sorted(by: { $0.key < $1.key }) {
            guard let end = task.reap() else { continue }
            running[number] = nil
            // What it wrote before it ended comes before its end.
            for stream in task.streams {
                stream.drain()
                if stream.isOpen { leftovers.append(stream) }
            }
            if task.isService {
                serviceDied(number, end)
            } else {
                settle(number, end)
            }
        }
        if case .port(let number, let limit) = waiting, running[number] != nil {
            if LoopbackPort.answers(orders.tasks[number].port) {
                Report.send(StepEvent(.ready, task: number))
                waiting = .nothing
            } else if MonotonicClock.now() >= limit {
                fail(number, StepEnd(.notReady, wallNanoseconds: running[number]?.wall ?? 0))
            }
        }
    }

    private func settle(_ number: Int, _ end: StepEnd) {
        Report.send(StepEvent(.ended, task: number, bytes: end.bytes))
        waiting = .nothing
        if !end.isSuccess { hasFailed = true }
    }

    /// One that dies during the phase fails it, also with exit code 0: the tasks counted on it.
    private func serviceDied(_ number: Int, _ end: StepEnd) {
        Report.send(StepEvent(.ended, task: number, bytes: end.bytes))
        hasFailed = true
    }

    private func fail(_ number: Int, _ end: StepEnd) {
        Report.send(StepEvent(.ended, task: number, bytes: end.bytes))
        running[number]?.isTold = true
        hasFailed = true
    }

    private func checkTimes() {
        let now = MonotonicClock.now()
        if hasFailed { return }
        if case .task(let number) = waiting, let task = running[number], now >= task.deadline {
            fail(number, task.timedOut)
        } else if now >= deadline {
            switch waiting {
            case .task(let number), .port(let number, _): fail(number, running[number]?.timedOut ?? StepEnd(.timedOut))
            case .nothing: hasFailed = true
            }
        }
    }

    // MARK: The end

    /// Asks the services to end, where all went well, and ends everything.
    private func stopServices() {
        if !hasFailed {
            for task in running.values { kill(-task.pid, SIGTERM) }
            let limit = min(deadline, MonotonicClock.now() &+ TaskLoop.grace)
            while running.values.contains(where: { !$0.hasEnded }), MonotonicClock.now() < limit {
                turn(milliseconds: 10)
                for task in running.values { _ = task.reap() }
            }
        }
        kill(-1, SIGKILL)
        for (number, task) in running.sorted(by: { $0.key < $1.key }) {
            let end = task.waitForEnd()
            for stream in task.streams { stream.drain() }
            guard !task.isTold else { continue }
            let cause: StepEnd.Cause = task.isService ? .stopped : .serviceDied
            Report.send(
                StepEvent(.ended, task: number,
                    bytes: StepEnd(cause, wallNanoseconds: end.wallNanoseconds, cpuNanoseconds: end.cpuNanoseconds).bytes))
        }
        for stream in leftovers { stream.drain() }
    }
}

/// Whether somebody listens on the sandbox's own loopback.
enum LoopbackPort {
    static func answers(_ port: UInt16) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var address6 = sockaddr_in6()
        address6.sin6_family = sa_family_t(AF_INET6)
        address6.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &address6.sin6_addr) { $0[15] = 1 }
        return connects(AF_INET, address) || connects(AF_INET6, address6)
    }

    private static func connects<Address>(_ family: Int32, _ address: Address) -> Bool {
        let raw = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { return false }
        let connection = Descriptor(owning: raw)
        return withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                // On the loopback the answer comes at once.
                connect(connection.raw, $0, socklen_t(MemoryLayout<Address>.size)) == 0
            }
        }
    }
}
