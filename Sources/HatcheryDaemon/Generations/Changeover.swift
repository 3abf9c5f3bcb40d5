import HatcheryProtocol

/// A new generation on its way: zygotes that start beside the ones that serve. All of them take over in one moment when the
/// last of them is ready, or none does. It only knows and counts; `Generations` acts.
final class Changeover {
    enum Cause: Equatable {
        /// The whole configuration was read again.
        case reload
        /// One zygote's part of it was.
        case reloadOf(String)
        /// The zygote has served long enough; its configuration is the same.
        case rotation(String)
    }

    enum Progress: Equatable {
        case waiting
        case complete
        /// What the first zygote that cannot serve said.
        case failed(String)
    }

    let cause: Cause
    let settings: Settings
    let candidates: [String: [Zygote]]
    /// What an operator should know of a reload that went well.
    let notes: [String]
    let completion: (Result<[String], HatcheryError>) -> Void

    init(
        _ cause: Cause, settings: Settings, candidates: [String: [Zygote]], notes: [String] = [],
        completion: @escaping (Result<[String], HatcheryError>) -> Void
    ) {
        self.cause = cause
        self.settings = settings
        self.candidates = candidates
        self.notes = notes
        self.completion = completion
    }

    var all: [Zygote] { candidates.values.flatMap { $0 } }

    var progress: Progress {
        for zygote in all {
            if case .failed(let message) = zygote.state { return .failed("zygote \(zygote.name): \(message)") }
        }
        return all.allSatisfy { $0.state == .ready } ? .complete : .waiting
    }
}
