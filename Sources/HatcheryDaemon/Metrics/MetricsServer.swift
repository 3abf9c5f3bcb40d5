import CHatchery
import Glibc
import HatcherySystem

/// Serves /metrics, /healthz and /readyz by HTTP, on the front's own loop.
///
/// SECURITY: whoever connects here is nobody we know. So there are few connections, a short head, a short time, and one
/// answer for each; a scrape never waits for a reader. Test: aScraperThatDoesNothingIsClosed.
final class MetricsServer {
    static let connectionLimit = 16
    static let nanosecondsForEach: UInt64 = 5_000_000_000

    private final class Connection {
        let socket: Descriptor
        var registration: EventLoop.Registration?
        var timer: EventLoop.Timer?
        var input: [UInt8] = []
        var output: ArraySlice<UInt8> = []
        var hasAnswer = false

        init(_ socket: consuming Descriptor) { self.socket = socket }
    }

    private let loop: EventLoop
    private let listener: Descriptor
    private let answer: (String) -> HTTPResponse
    private var registration: EventLoop.Registration?
    private var connections: [Int32: Connection] = [:]

    /// - Parameter answer: to a path.
    init(listener: consuming Descriptor, loop: EventLoop, answer: @escaping (String) -> HTTPResponse) throws(SystemError) {
        self.listener = listener
        self.loop = loop
        self.answer = answer
        registration = try loop.watch(self.listener.raw) { [weak self] _ in self?.accept() }
    }

    private func accept() {
        while let socket = acceptOne() {
            // Above the limit it is closed without a word.
            guard connections.count < MetricsServer.connectionLimit else { continue }
            let connection = Connection(socket)
            let raw = connection.socket.raw
            guard let registration = try? loop.watch(raw, .read, { [weak self] ready in self?.handle(raw, ready) }) else { continue }
            connection.registration = registration
            connection.timer = loop.after(nanoseconds: MetricsServer.nanosecondsForEach) { [weak self] in self?.close(raw) }
            connections[raw] = connection
        }
    }

    /// Without a descriptor for it a connection waits, and the listener is readable all the while: it is left alone for a moment.
    private func acceptOne() -> Descriptor? {
        do throws(SystemError) {
            return try MessageSocket.accept(listener.raw)
        } catch {
            registration?.setInterest([])
            loop.after(nanoseconds: Front.acceptPauseNanoseconds) { [weak self] in self?.registration?.setInterest(.read) }
            return nil
        }
    }

    private func handle(_ raw: Int32, _ ready: EventPoll.Interest) {
        guard let connection = connections[raw] else { return }
        if !connection.hasAnswer { read(connection) }
        if connection.hasAnswer { write(connection) }
    }

    private func read(_ connection: Connection) {
        let raw = connection.socket.raw
        var chunk = [UInt8](repeating: 0, count: HTTPRequest.headLimit)
        while !connection.hasAnswer {
            let count = Glibc.read(raw, &chunk, chunk.count)
            if count < 0 && errno == EAGAIN { return }
            guard count > 0 else { return close(raw) }
            connection.input += chunk[..<count]
            switch HTTPRequest.read(connection.input) {
            case .incomplete: continue
            case .refused(let status): begin(connection, HTTPResponse(status: status, body: "\(status)\n").encoded())
            case .request(let request): begin(connection, answer(request.path).encoded(isHead: request.isHead))
            }
        }
    }

    private func begin(_ connection: Connection, _ bytes: [UInt8]) {
        connection.hasAnswer = true
        connection.output = bytes[...]
    }

    private func write(_ connection: Connection) {
        let raw = connection.socket.raw
        while !connection.output.isEmpty {
            let count = connection.output.withUnsafeBytes { send(raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0 && errno == EAGAIN {
                connection.registration?.setInterest(.write)
                return
            }
            guard count > 0 else { return close(raw) }
            connection.output = connection.output.dropFirst(count)
        }
        close(raw)
    }

    private func close(_ raw: Int32) {
        guard let connection = connections.removeValue(forKey: raw) else { return }
        connection.timer?.cancel()
        connection.registration?.cancel()
        // What of the request is unread would turn the close into a reset, and take the answer with it.
        shutdown(raw, Int32(SHUT_WR))
        var rest = [UInt8](repeating: 0, count: HTTPRequest.headLimit)
        _ = Glibc.read(raw, &rest, rest.count)
    }
}

extension Front {
    /// Serves what monitoring asks for.
    /// - Parameter inherited: a listening socket of the service manager's, in place of the configured one.
    public func openMetrics(inherited: consuming Descriptor?) throws(SystemError) {
        let listener: Descriptor
        if let inherited {
            listener = inherited
        } else {
            switch configuration.metrics.listen {
            case .none: return
            case .socket(let path):
                listener = try DaemonSocket.listenStream(path, mode: configuration.metrics.mode)
                metricsSocket = (path, DaemonSocket.inode(path))
            case .loopback(let port, let isIPv6):
                listener = try StreamSocket.listen(loopbackPort: port, isIPv6: isIPv6)
            }
        }
        metricsServer = try MetricsServer(listener: listener, loop: loop) { [weak self] path in
            self?.monitoringAnswer(path) ?? HTTPResponse(status: 503, body: "ending\n")
        }
    }

    private func monitoringAnswer(_ path: String) -> HTTPResponse {
        switch path {
        case "/metrics":
            HTTPResponse(status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: metricsPage().text)
        // That the loop answers is all that health means.
        case "/healthz": HTTPResponse(status: 200, body: "ok\n")
        case "/readyz": readiness.map { HTTPResponse(status: 503, body: $0 + "\n") } ?? HTTPResponse(status: 200, body: "ready\n")
        default: HTTPResponse(status: 404, body: "there are /metrics, /healthz and /readyz\n")
        }
    }
}
