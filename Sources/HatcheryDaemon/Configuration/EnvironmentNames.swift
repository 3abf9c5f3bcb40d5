/// The names under which the environment overrides keys: `HATCHERY_` and the path in capitals, with `_` for every point and
/// hyphen: `socket.path` is `HATCHERY_SOCKET_PATH`.
///
/// The names of zygotes and profiles lose their case and hyphens on that way, so the environment can change only members
/// that exist; a new one takes a flag. A variable of a `mapping` key keeps its own name:
/// `HATCHERY_PROFILES_DEFAULT_ENVIRONMENT_LC_ALL`.
enum EnvironmentNames {
    static let prefix = "HATCHERY_"

    static func name(ofPath path: String) -> String {
        prefix + String(path.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
    }

    /// Lays every variable of `environment` that names a key over the tree, in the order of their names.
    ///
    /// Variables that belong to other parts (`HATCHERY_SOCKET` is the client's) are left alone. One that begins like a
    /// section, or is a misspelling of a key, is an error: a limit that is not applied must not go unnoticed.
    static func apply(_ environment: [String: String], to overlay: inout Overlay) throws(ConfigurationError) {
        let leaves = walk(overlay.keys, overlay.tree, [])
        let byName = Dictionary(grouping: leaves) { name(ofPath: $0.path) }
        let sections = overlay.keys.compactMap { key -> String? in
            if case .value = key.shape { nil } else { name(ofPath: key.name) + "_" }
        }
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix(prefix) {
            let origin = ValueOrigin.environment(variable)
            if let path = try path(of: variable, byName, leaves, origin) {
                try overlay.apply(path: path, value: value, origin: origin)
                continue
            }
            let meant = nearestName(to: variable, in: byName.keys.sorted().filter { isNear($0, variable) })
            guard meant != nil || sections.contains(where: variable.hasPrefix) else { continue }
            throw ConfigurationError(origin: origin, message: "names no key of the configuration", suggestion: meant)
        }
    }

    private static func path(
        of variable: String, _ byName: [String: [Leaf]], _ leaves: [Leaf], _ origin: ValueOrigin
    ) throws(ConfigurationError) -> [String]? {
        if let matches = byName[variable] {
            guard matches.count == 1 else {
                let paths = matches.map(\.path).joined(separator: " and ")
                throw ConfigurationError(origin: origin, message: "can mean \(paths); use a flag")
            }
            return matches[0].components
        }
        for leaf in leaves where leaf.isMapping {
            let start = name(ofPath: leaf.path) + "_"
            if variable.hasPrefix(start) { return leaf.components + [String(variable.dropFirst(start.count))] }
        }
        return nil
    }

    /// All names begin alike, so that a third of the whole length would be too generous.
    private static func isNear(_ name: String, _ variable: String) -> Bool {
        editDistance(Array(name), Array(variable.prefix(256))) <= 3
    }

    private struct Leaf {
        var components: [String]
        var isMapping: Bool
        var path: String { components.joined(separator: ".") }
    }

    /// Every leaf that can be named: those of the default members and of the members that the file has.
    private static func walk(_ keys: [ConfigurationKey], _ node: SourceNode?, _ parents: [String]) -> [Leaf] {
        keys.flatMap { key -> [Leaf] in
            let components = parents + [key.name]
            let child = node?[key.name]
            switch key.shape {
            case .value(_, let form, _, _):
                return [Leaf(components: components, isMapping: form == .mapping)]
            case .section(let children):
                return walk(children, child, components)
            case .named(let template, let members):
                let names = Set(members.map(\.name)).union(child?.entries?.map(\.key) ?? [])
                return names.sorted().flatMap { walk(template, child?[$0], components + [$0]) }
            case .list(let template, _):
                guard case .sequence(let elements)? = child?.content else { return [] }
                return elements.flatMap { element in
                    element.memberName.map { walk(template, element, components + [$0]) } ?? []
                }
            }
        }
    }
}
