import Hatchery
import HatcheryProtocol

/// One request and one answer, for the verbs that only ask.
enum OneQuestion {
    static func ask<Answer>(
        _ daemon: DaemonFlags, _ kind: FrameKind, body: [UInt8] = [], within time: Duration = .seconds(10),
        _ decode: @escaping (Connection.Reply) -> Result<Answer, HatcheryError>, _ use: (Answer) -> Int32
    ) -> Int32 {
        do throws(HatcheryError) {
            let reactor = try RunDriver.ownReactor()
            // Asking what runs should not set something running.
            let connection = try DaemonLocator.connect(daemon.socket, reactor: reactor, startsDaemon: false)
            return use(try decode(ask(connection, kind, body: body, within: time)).get())
        } catch {
            Console.failure(error)
            return ExitStatus.hatcheryFailed
        }
    }

    static func ask(
        _ connection: Connection, _ kind: FrameKind, body: [UInt8] = [], within time: Duration = .seconds(10)
    ) -> Connection.Reply {
        let slot = Slot<Connection.Reply>()
        let overdue = Slot<Bool>()
        let timer = connection.reactor.after(time) { overdue.value = true }
        connection.request(kind, body: body) { slot.value = $0 }
        while slot.value == nil && overdue.value == nil { connection.reactor.turn() }
        connection.reactor.cancel(timer)
        return slot.value
            ?? .failure(HatcheryError(.lost, side: .client, detail: "the daemon did not answer within \(time)"))
    }
}
