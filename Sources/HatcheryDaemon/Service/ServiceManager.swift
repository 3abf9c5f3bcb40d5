import Foundation
import Glibc
import HatcherySystem
import Logging

/// The service manager that started us, where one did: sd_notify(3), spoken directly over its datagram socket.
///
/// What cannot be delivered is no reason to end: a manager that hears nothing acts by its own time limits.
public final class ServiceManager {
    /// How often it wants to hear of us, and half of it is how often it does; nil where it does not.
    let watchdogNanoseconds: UInt64?
    private var socket: Descriptor?
    private let log: Logger

    /// Takes the variables of sd_notify(3) and sd_watchdog_enabled(3) out of the environment, so that nothing that this
    /// process starts speaks in its name.
    public init(environment: [String: String], log: Logger) {
        self.log = log
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
        guard let address = environment["NOTIFY_SOCKET"], !address.isEmpty else {
            socket = nil
            watchdogNanoseconds = nil
            return
        }
        do throws(SystemError) {
            guard address.hasPrefix("/") || address.hasPrefix("@") else {
                throw SystemError("NOTIFY_SOCKET is neither a path nor an abstract name:", errno: EAFNOSUPPORT, subject: address)
            }
            socket = try DatagramSocket.connect(address)
        } catch {
            log.warning("the service manager is not told anything: \(error)")
            socket = nil
        }
        watchdogNanoseconds = socket == nil ? nil : ServiceManager.watchdog(environment, pid: getpid())
    }

    /// The interval of the watchdog, where it is meant for this process.
    static func watchdog(_ environment: [String: String], pid: pid_t) -> UInt64? {
        guard let text = environment["WATCHDOG_USEC"], let microseconds = UInt64(text), microseconds > 0,
            microseconds < UInt64.max / 1000
        else { return nil }
        if let owner = environment["WATCHDOG_PID"], owner != "\(pid)" { return nil }
        return microseconds * 1000
    }

    public var isPresent: Bool { socket != nil }

    // MARK: What it is told

    func ready(_ status: String) { send(["READY=1", ServiceManager.status(status)]) }

    /// SECURITY: a status is one line, so that no name in it adds a line of its own. Test: aStatusIsOneLine.
    func status(_ text: String) { send([ServiceManager.status(text)]) }

    static func status(_ text: String) -> String {
        "STATUS=" + text.oneLine
    }

    /// The time lets the manager tell this reload from an earlier one (Type=notify-reload).
    func reloading() {
        send(["RELOADING=1", "MONOTONIC_USEC=\(MonotonicClock.now() / 1000)", "STATUS=Reloading the configuration"])
    }

    func stopping(_ status: String) { send(["STOPPING=1", ServiceManager.status(status)]) }

    /// What is under way takes at most so much longer; without this the manager would end it by its own limit.
    func extendTimeout(nanoseconds: UInt64) { send(["EXTEND_TIMEOUT_USEC=\(nanoseconds / 1000)"]) }

    func watchdog() { send(["WATCHDOG=1"]) }

    private func send(_ lines: [String]) {
        guard let raw = socket?.raw else { return }
        do throws(SystemError) {
            // Where its queue is full, the next message will do: the loop waits for nobody.
            try MessageSocket.send(raw, Array(lines.joined(separator: "\n").utf8), dontWait: true)
        } catch {
            log.debug("service manager: \(error)")
        }
    }
}
