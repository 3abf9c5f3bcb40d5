import Glibc
import HatcheryProtocol
import HatcherySystem

/// What a request really gets, after the profile was asked: step 1 of a spawn.
struct GrantedLimits: Sendable {
    var wallNanoseconds: UInt64
    var cpuNanoseconds: UInt64
    var memoryBytes: UInt64
    var processes: UInt64
    var diskBytes: UInt64
    var openFiles: UInt64
    /// Thousandths of a processor.
    var milliCPUs: UInt64
    /// Bytes that the client may keep of each stream.
    var outputBytes: UInt64
}

/// Checks a request against the configuration. Pure: nothing is opened or made here.
struct Admission {
    let configuration: Configuration

    struct Granted {
        var profileName: String
        var profile: ProfileConfiguration
        var limits: GrantedLimits
        var network: SpawnRequest.Network
    }

    // step 1 (front)
    func admit(_ request: SpawnRequest, zygote: ZygoteConfiguration) throws(HatcheryError) -> Granted {
        let profileName = request.profile.isEmpty ? zygote.profile : request.profile
        let profile = try profile(named: profileName)
        let network = request.network ?? SpawnRequest.Network(profile.network)
        if network == .nat && configuration.nat.mode == .off {
            throw HatcheryError(
                .notPermitted, side: .front, step: .admit, detail: "this daemon gives no sandbox a network (nat.mode is off)",
                hint: "use --net none or --net loopback, or have the operator set nat.mode to auto")
        }
        if network == .nat && request.without.contains(.netns) {
            throw invalid("a sandbox without a network namespace cannot have a network", hint: "use --net none")
        }
        if !request.without.isEmpty || request.failAt != nil {
            #if !HATCHERY_TESTING
                throw HatcheryError(
                    .notPermitted, side: .front, step: .admit,
                    detail: "a production daemon never leaves a layer out or fails a step on purpose",
                    hint: "build hatcheryd with `swift build` (debug) to run the tests that need this")
            #endif
        }
        for path in request.mounts.map(\.destination) + request.temporaryFileSystems.map(\.destination) {
            try checkMountPoint(path)
        }
        let separate = request.temporaryFileSystems.reduce(0) { $0 + ($1.size ?? 0) }
        let diskBytes = request.diskBytes ?? profile.limits.disk.default
        if separate >= diskBytes {
            throw invalid(
                "the sizes of --tmpfs are \(separate) bytes together, the disk limit is \(diskBytes)",
                hint: "they share one budget with /tmp and the home directory; raise --disk or leave sizes out")
        }
        for file in request.filesIn {
            try checkInside(file.destination, what: "file in")
            let parts = file.destination.split(separator: "/")
            if file.destination.hasPrefix("/"), let first = parts.first, first == "proc" || first == "sys" {
                throw invalid("nothing can be copied below /\(first)", hint: "choose another place, such as /tmp")
            }
        }
        for path in request.filesOut { try checkInside(path, what: "file out") }
        if request.detached && !request.filesOut.isEmpty {
            throw invalid("a detached sandbox cannot hand files out", hint: "leave out either --detach or --out")
        }
        if request.detached && request.terminal != nil {
            throw invalid("a detached sandbox has nobody at its terminal", hint: "leave out either --detach or -t")
        }
        return Granted(
            profileName: profileName, profile: profile, limits: try limits(request, profile.limits, profileName), network: network)
    }

    private func profile(named name: String) throws(HatcheryError) -> ProfileConfiguration {
        if let profile = configuration.profiles[name] { return profile }
        let known = configuration.profiles.keys.sorted().joined(separator: ", ")
        throw HatcheryError(
            .notFound, side: .front, step: .admit, detail: "no profile is called \"\(name)\"",
            hint: "configured: \(known)")
    }

    private func limits(
        _ request: SpawnRequest, _ limits: LimitsConfiguration, _ profile: String
    ) throws(HatcheryError) -> GrantedLimits {
        func grant(_ name: String, _ asked: UInt64?, _ normal: UInt64, _ most: UInt64) throws(HatcheryError) -> UInt64 {
            guard let asked else { return normal }
            if asked > most {
                throw invalid(
                    "\(name): \(text(asked, of: name)) is above the maximum of profile \"\(profile)\"",
                    hint: "ask for at most \(text(most, of: name)), or raise profiles.\(profile).limits.\(key(of: name)).max")
            }
            return asked
        }
        return GrantedLimits(
            wallNanoseconds: try grant(
                "time", request.wallNanoseconds, limits.wall.default.nanoseconds, limits.wall.max.nanoseconds),
            cpuNanoseconds: try grant(
                "cpu-time", request.cpuNanoseconds, limits.cpu.default.nanoseconds, limits.cpu.max.nanoseconds),
            memoryBytes: try grant("memory", request.memoryBytes, limits.memory.default, limits.memory.max),
            processes: try grant(
                "pids", request.processes, UInt64(limits.pids.default), UInt64(limits.pids.max)),
            diskBytes: try grant("disk", request.diskBytes, limits.disk.default, limits.disk.max),
            openFiles: try grant("files", request.openFiles, UInt64(limits.files.default), UInt64(limits.files.max)),
            milliCPUs: try grant(
                "cpus", request.milliCPUs, UInt64((limits.cpus.default * 1000).rounded()),
                UInt64((limits.cpus.max * 1000).rounded())),
            outputBytes: try grant("output", request.outputBytes, limits.output.default, limits.output.max))
    }

    /// A limit as its flag takes it.
    private func text(_ value: UInt64, of name: String) -> String {
        switch name {
        case "time", "cpu-time": DurationText.format(.nanoseconds(Int64(clamping: value)))
        case "cpus": "\(Double(value) / 1000)"
        case "memory", "disk", "output": ByteSize.format(value)
        default: "\(value)"
        }
    }

    /// The key of the configuration that holds a flag's limit.
    private func key(of name: String) -> String {
        switch name {
        case "time": "wall"
        case "cpu-time": "cpu"
        default: name
        }
    }

    private func checkMountPoint(_ path: String) throws(HatcheryError) {
        // SECURITY: by the names that the set-up will walk through: "/./proc" is /proc. Test: impossibleRequestsAreAnswered.
        let parts = SandboxPath.components(path)
        guard path.hasPrefix("/"), !parts.isEmpty, !parts.contains("..") else {
            throw invalid("the mount point \"\(path)\" is not an absolute path below /", hint: "write it like /data")
        }
        // SECURITY: what programs trust to come from us is not covered by a request.
        if parts.first == "proc" || parts.first == "dev" || parts.first == "sys" {
            throw invalid("nothing can be mounted below /\(parts[0])", hint: "choose another place, such as /data")
        }
    }

    private func checkInside(_ path: String, what: String) throws(HatcheryError) {
        if path.split(separator: "/").contains("..") || path.hasSuffix("/") {
            throw invalid("\(what): \"\(path)\" is not the path of a file", hint: "give a path without .. and final /")
        }
    }

    private func invalid(_ detail: String, hint: String) -> HatcheryError {
        HatcheryError(.invalidRequest, side: .front, step: .admit, detail: detail, hint: hint)
    }
}

extension LaunchPlan.Mode {
    /// What is run, for messages.
    var noun: String {
        switch self {
        case .program: "program"
        case .script, .code, .module: "Python"
        case .call: "call"
        }
    }

    func fits(_ kind: ZygoteKind) -> Bool {
        switch kind {
        case .exec: self == .program
        case .python: self != .program
        case .swift: self == .call
        }
    }
}

extension SpawnRequest.Network {
    init(_ mode: NetworkMode) {
        switch mode {
        case .none: self = .none
        case .loopback: self = .loopback
        case .nat: self = .nat
        }
    }
}

extension Duration {
    /// Rounded down, never negative.
    var nanoseconds: UInt64 {
        let parts = components
        if parts.seconds < 0 || parts.attoseconds < 0 { return 0 }
        return UInt64(parts.seconds) * 1_000_000_000 + UInt64(parts.attoseconds / 1_000_000_000)
    }
}
