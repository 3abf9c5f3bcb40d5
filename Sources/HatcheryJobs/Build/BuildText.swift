import HatcheryProtocol

/// A spec and a plan as people read them.
public enum BuildText {
    /// Who may do what, when.
    public static func explanation(of spec: BuildSpec) -> String {
        var text = "\(spec.name.isEmpty ? "The build" : spec.name.plain(limitBytes: 200))\n"
        text += "  root: \(spec.rootFileSystem ?? "the host's /usr, read-only")\n  profile: \(spec.profile)\n"
        if !spec.variables.isEmpty { text += "  variables: \(spec.variables.keys.sorted().joined(separator: ", "))\n" }
        for (name, source) in spec.secrets.sorted(by: { $0.key < $1.key }) {
            switch source {
            case .file(let path): text += "  secret \(name): from the file \(path)\n"
            case .environment(let variable): text += "  secret \(name): from the caller's variable \(variable)\n"
            }
        }
        for phase in BuildPhase.allCases {
            guard let section = spec.phases[phase] else { continue }
            text += "\n\(phase.rawValue) (\(when(phase)))\n"
            text += "  network: \(network(section.rights.network))\n"
            text += "  changes last in: \(writable(section.rights.writable))\n"
            text += "  secrets: \(section.secrets.isEmpty ? "none" : section.secrets.joined(separator: ", "))\n"
            let limits = section.rights.limits
            text +=
                "  limits: time \(DurationText.format(limits.time)), CPU time \(DurationText.format(limits.cpuTime)), memory "
                + "\(ByteSize.format(limits.memory)), processes \(limits.pids), disk \(ByteSize.format(limits.disk))\n"
            for (number, step) in section.steps.enumerated() { text += "  \(number + 1). \(line(of: step))\n" }
        }
        return text
    }

    /// What would run.
    public static func listing(of plan: BuildPlan) -> String {
        plan.phases.map { phase in
            let steps = plan.steps(of: phase)
            return steps.enumerated().map { number, step in
                "\(phase.rawValue) \(number + 1)/\(steps.count): \(line(of: step))\n"
            }.joined()
        }.joined()
    }

    private static func line(of step: BuildSpec.Step) -> String {
        let first = step.text.split(separator: "\n").first.map(String.init) ?? ""
        let more = step.text.contains("\n") && step.text.split(separator: "\n").count > 1 ? " …" : ""
        var notes: [String] = []
        if step.kind == .background { notes.append("service") }
        if let port = step.port { notes.append("port \(port)") }
        if let time = step.time { notes.append("at most \(DurationText.format(time))") }
        return first.plain(limitBytes: 500) + more + (notes.isEmpty ? "" : "  [\(notes.joined(separator: ", "))]")
    }

    private static func when(_ phase: BuildPhase) -> String {
        switch phase {
        case .after: "whatever happened"
        case .staging, .production: "only with --stage \(phase.rawValue)"
        default: "until the first failure"
        }
    }

    private static func network(_ network: BuildRights.Network) -> String {
        switch network {
        case .none: "none"
        case .loopback: "its own loopback, which nobody else reaches"
        case .nat: "outside, through the host"
        }
    }

    private static func writable(_ places: [String]) -> String {
        if places.isEmpty { return "nothing" }
        return places.map { $0 == "." ? "the work directory" : $0 == "~" ? "the home directory" : $0 }.joined(separator: ", ")
    }
}
