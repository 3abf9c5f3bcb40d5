import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// Finds the daemon to talk to: the one that was named, the system's, or the user's private one, which is started where it
/// is wanted and absent.
package enum DaemonLocator {
    /// The socket of the daemon, for programs that wait with `async` and make a client of the library themselves.
    package static func socketPath(_ named: String?) throws(HatcheryError) -> String {
        try find(named, reactor: try RunDriver.ownReactor(), startsDaemon: true).path
    }

    /// - Parameters:
    ///   - named: --socket. A daemon that the user named is never replaced by another.
    ///   - startsDaemon: whether a private daemon is started where none answers.
    static func connect(
        _ named: String?, reactor: Reactor, startsDaemon: Bool
    ) throws(HatcheryError) -> Connection {
        try find(named, reactor: reactor, startsDaemon: startsDaemon).connection
    }

    /// The same, with the path of the socket.
    static func find(
        _ named: String?, reactor: Reactor, startsDaemon: Bool
    ) throws(HatcheryError) -> (connection: Connection, path: String) {
        if let path = named ?? environment("HATCHERY_SOCKET") {
            return (try greeted(path, reactor), path)
        }
        let system = HatcheryClient.defaultSocketPath
        if let connection = try attempt(system, reactor) { return (connection, system) }
        let place = try PrivatePlace.find(creates: startsDaemon)
        if let place, let connection = try attempt(place.socketPath, reactor) { return (connection, place.socketPath) }
        guard startsDaemon, let place else {
            throw HatcheryError(
                .unreachable, side: .client, detail: "no daemon is running",
                hint: "start hatcheryd, or use `hatchery run`, which starts a private one")
        }
        let lock = try place.lock()
        defer { lock.release() }
        // Somebody else may have started it while we waited for the lock.
        if let connection = try attempt(place.socketPath, reactor) { return (connection, place.socketPath) }
        try PrivateDaemon(place: place).start()
        return (try greeted(place.socketPath, reactor), place.socketPath)
    }

    /// nil where nothing answers there, or where it is not for us.
    private static func attempt(_ path: String, _ reactor: Reactor) throws(HatcheryError) -> Connection? {
        do throws(HatcheryError) {
            return try greeted(path, reactor)
        } catch {
            switch error.errno {
            case ENOENT, ECONNREFUSED, EACCES, EPERM, ENOTDIR: return nil
            default: throw error
            }
        }
    }

    /// The greeting is sent, and its answer not waited for: a request may follow in the same breath. Where the greeting is
    /// refused, so is everything after it.
    private static func greeted(_ path: String, _ reactor: Reactor) throws(HatcheryError) -> Connection {
        var failure: HatcheryError
        do throws(HatcheryError) {
            let connection = try Connection.open(socketPath: path, reactor: reactor)
            connection.greet { _ in }
            return connection
        } catch {
            failure = error
        }
        if !failure.detail.contains(path) { failure.detail += " \(path)" }
        throw failure
    }

    static func environment(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }
}
