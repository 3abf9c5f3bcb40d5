/// Puts what the environment and the flags say over the tree of the file, before anything is decoded: an override is checked
/// by the same tables as the file, and reported under its own name.
struct Overlay {
    let keys: [ConfigurationKey]
    private(set) var tree: SourceNode

    /// - Parameters:
    ///   - tree: the file's; a node without content for none.
    ///   - keys: the schema with its defaults, whose lists and members an override can refer to.
    init(tree: SourceNode, keys: [ConfigurationKey]) {
        self.keys = keys
        self.tree = tree
        // An override changes a member of a list. Where the file has no list, that is the default one.
        for key in keys {
            guard case .list(_, let members) = key.shape, tree.entries != nil, tree[key.name] == nil else { continue }
            self.tree.set(key.name, to: Overlay.defaultList(members))
        }
    }

    // MARK: - Flags

    /// `KEY=VALUE`. The key is a dotted path, in which a member of `zygotes` or `profiles` goes by its name; one that does
    /// not exist is added. A list or a mapping is written as YAML, a scalar as it is; an empty value is none.
    mutating func apply(override text: String) throws(ConfigurationError) {
        let origin = ValueOrigin.flag(text)
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw ConfigurationError(origin: origin, message: "an override is written KEY=VALUE, such as socket.path=/tmp/socket")
        }
        let components = text[..<equals].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let value = String(text[text.index(after: equals)...])
        try apply(path: components, value: value, origin: origin)
    }

    /// One override whose key is already taken apart.
    mutating func apply(path: [String], value: String, origin: ValueOrigin) throws(ConfigurationError) {
        try set(path[...], to: value, keys: keys, in: &tree, path: "", origin: origin)
    }

    private func set(
        _ components: ArraySlice<String>, to value: String, keys: [ConfigurationKey], in node: inout SourceNode,
        path: String, origin: ValueOrigin
    ) throws(ConfigurationError) {
        guard let name = components.first, let key = keys.first(where: { $0.name == name }) else {
            throw unknownKey(components.first ?? "", path: path, origin: origin, known: keys.map(\.name))
        }
        let rest = components.dropFirst()
        let keyPath = joinPath(path, name)
        guard node.entries != nil else { throw wrongType(node, path: path, expected: "a mapping of keys") }
        var child = node[name] ?? SourceNode(content: .nothing, origin: origin)

        switch key.shape {
        case .value(_, let form, let current, _):
            try setLeaf(rest, to: value, form: form, current: current, in: &child, path: keyPath, origin: origin)
        case .section(let children):
            guard !rest.isEmpty else { throw incomplete(keyPath, origin, "name one of its keys: \(list(children.map(\.name)))") }
            try set(rest, to: value, keys: children, in: &child, path: keyPath, origin: origin)
        case .named(let template, _):
            guard let member = rest.first, rest.count > 1 else {
                throw incomplete(keyPath, origin, "write \(keyPath).NAME.KEY=VALUE")
            }
            guard child.entries != nil else { throw wrongType(child, path: keyPath, expected: "a mapping of names") }
            var memberNode = child[member] ?? SourceNode(content: .nothing, origin: origin)
            try set(rest.dropFirst(), to: value, keys: template, in: &memberNode, path: joinPath(keyPath, member), origin: origin)
            child.set(member, to: memberNode)
        case .list(let template, _):
            guard let member = rest.first, rest.count > 1 else {
                throw incomplete(keyPath, origin, "write \(keyPath).NAME.KEY=VALUE")
            }
            guard case .sequence(var elements) = child.content else { throw wrongType(child, path: keyPath, expected: "a list") }
            let index = elements.firstIndex { $0.memberName == member }
            var element = index.map { elements[$0] } ?? SourceNode(content: .nothing, origin: origin)
            if index == nil { element.set("name", to: SourceNode(content: .scalar(member, isQuoted: false), origin: origin)) }
            try set(rest.dropFirst(), to: value, keys: template, in: &element, path: joinPath(keyPath, member), origin: origin)
            if let index { elements[index] = element } else { elements.append(element) }
            child.content = .sequence(elements)
        }
        node.set(name, to: child)
    }

    private func setLeaf(
        _ rest: ArraySlice<String>, to value: String, form: ConfigurationKey.Form, current: String,
        in node: inout SourceNode, path: String, origin: ValueOrigin
    ) throws(ConfigurationError) {
        if rest.isEmpty {
            node = try Overlay.parse(value, form: form, path: path, origin: origin)
            return
        }
        guard form == .mapping, rest.count == 1, let name = rest.first else {
            throw ConfigurationError(
                origin: origin, path: joinPath(path, rest.joined(separator: ".")), message: "'\(path)' has no keys")
        }
        // One variable more does not take the default ones away.
        if case .nothing = node.content { node = try Overlay.parse(current, form: form, path: path, origin: .builtIn) }
        guard node.entries != nil else { throw wrongType(node, path: path, expected: "a mapping") }
        node.set(name, to: SourceNode(content: .scalar(value, isQuoted: true), origin: origin))
    }

    private static func parse(
        _ value: String, form: ConfigurationKey.Form, path: String, origin: ValueOrigin
    ) throws(ConfigurationError) -> SourceNode {
        if form == .scalar {
            return SourceNode(content: value.isEmpty ? .nothing : .scalar(value, isQuoted: false), origin: origin)
        }
        do {
            return try YAMLSource.parse(value) { _, _ in origin }
        } catch {
            throw ConfigurationError(origin: origin, path: path, message: error.message)
        }
    }

    private static func defaultList(_ members: [ConfigurationKey.Member]) -> SourceNode {
        let elements = members.map { member in
            let entries = member.keys.compactMap { key -> SourceEntry? in
                guard case .value(_, _, let text, required: true) = key.shape else { return nil }
                let value = SourceNode(content: .scalar(text, isQuoted: false), origin: .builtIn)
                return SourceEntry(key: key.name, keyOrigin: .builtIn, value: value)
            }
            return SourceNode(content: .mapping(entries), origin: .builtIn)
        }
        return SourceNode(content: .sequence(elements), origin: .builtIn)
    }

    private func incomplete(_ path: String, _ origin: ValueOrigin, _ advice: String) -> ConfigurationError {
        ConfigurationError(origin: origin, path: path, message: "is not a single value; \(advice)")
    }

    private func list(_ names: [String]) -> String { names.joined(separator: ", ") }
}
