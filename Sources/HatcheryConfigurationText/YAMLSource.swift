import Yams

/// Turns YAML text into a `SourceNode`. Of YAML it takes mappings, lists and scalars, and refuses the rest by name:
/// anchors and aliases, tags, keys that are not plain texts, several documents, keys that come twice.
package struct YAMLSource {
    /// A configuration is written by hand. A megabyte is a thousand zygotes; more is the wrong file.
    package static let maximumBytes = 1 << 20
    /// The schema needs five levels. (libyaml itself stops at a thousand, so the recursion of Yams is bounded too.)
    package static let maximumDepth = 16

    /// Stands for a character that the two probing passes below must take the meaning of. Both are of the private use
    /// area, which YAML allows in any scalar and gives no meaning to.
    private static let inertAsterisk = "\u{E001}"
    private static let duplicateMark = "\u{E002}"

    package let text: String
    package let origin: @Sendable (_ line: Int, _ column: Int) -> ValueOrigin

    /// - Parameter origin: what to call a place of the text in errors.
    package static func parse(_ text: String, origin: @escaping @Sendable (Int, Int) -> ValueOrigin) throws(ConfigurationError)
        -> SourceNode
    {
        let source = YAMLSource(text: text, origin: origin)
        let start = origin(1, 1)
        guard text.utf8.count <= maximumBytes else {
            throw ConfigurationError(
                origin: start, message: "\(text.utf8.count) bytes of YAML; a configuration has at most \(maximumBytes)")
        }
        try source.refuseAnchors()
        return try source.tree(of: text) ?? SourceNode(content: .nothing, origin: start)
    }

    /// Aliases of aliases multiply: a kilobyte can stand for a billion nodes, and merely hashing such a node as a key
    /// (which Yams does) never ends. So anchors are looked for in a copy in which no alias can refer to one. An asterisk
    /// begins an alias or stands inside a scalar, so exchanging it moves no mark.
    private func refuseAnchors() throws(ConfigurationError) {
        guard text.utf8.contains(UInt8(ascii: "&")), text.utf8.contains(UInt8(ascii: "*")) else { return }
        _ = try tree(of: text.replacing("*", with: YAMLSource.inertAsterisk))
    }

    private func tree(of text: String) throws(ConfigurationError) -> SourceNode? {
        let parser: Parser
        let root: Node?
        do {
            // The basic resolver has no rules: every plain scalar is its text, and two keys are the same when their
            // texts are. The encoding is given because the default asks the environment.
            parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
            root = try parser.singleRoot()
        } catch let error as YamlError {
            throw describe(error)
        } catch {
            throw ConfigurationError(origin: origin(1, 1), message: "\(error)")
        }
        guard let root else { return nil }
        // Nodes hold their anchors weakly, the parser holds them strongly: without it `convert` would see none.
        defer { withExtendedLifetime(parser) {} }
        return try convert(root, path: "", depth: 0)
    }

    private func describe(_ error: YamlError) -> ConfigurationError {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let setting = context.map { "\($0.text) (begun at line \($0.mark.line)): " } ?? ""
            return ConfigurationError(origin: origin(mark.line, mark.column), message: "not YAML: \(setting)\(problem)")
        case .duplicatedKeysInMapping(let keys, let context):
            return describeDuplicate(keys.first ?? "", first: context.mark)
        case .reader(let problem, let offset, _, _):
            let before = text.prefix(offset ?? 0).split(separator: "\n", omittingEmptySubsequences: false)
            let place = origin(max(1, before.count), (before.last?.unicodeScalars.count ?? 0) + 1)
            return ConfigurationError(origin: place, message: "not YAML: \(problem)")
        default:
            return ConfigurationError(origin: origin(1, 1), message: "not YAML: \(error)")
        }
    }

    // MARK: - The tree

    private func convert(_ node: Node, path: String, depth: Int) throws(ConfigurationError) -> SourceNode {
        let place = position(of: node)
        func refuse(_ message: String) -> ConfigurationError {
            ConfigurationError(origin: place, path: path, message: message)
        }
        guard depth <= YAMLSource.maximumDepth else {
            throw refuse("nested more than \(YAMLSource.maximumDepth) levels deep")
        }
        guard node.anchor == nil else { throw refuse("anchors and aliases are not supported; write the value out") }
        let tag = node.tag.description
        guard [Tag.Name.implicit, .str, .seq, .map].contains(where: { $0.rawValue == tag }) else {
            throw refuse("tags are not supported, such as '\(tag)'")
        }
        switch node {
        case .scalar(let scalar):
            let isQuoted = scalar.style != .plain
            if !isQuoted, ["", "~", "null", "Null", "NULL"].contains(scalar.string) {
                return SourceNode(content: .nothing, origin: place)
            }
            return SourceNode(content: .scalar(scalar.string, isQuoted: isQuoted), origin: place)
        case .sequence(let sequence):
            var elements: [SourceNode] = []
            for (index, element) in sequence.enumerated() {
                elements.append(try convert(element, path: "\(path)[\(index)]", depth: depth + 1))
            }
            return SourceNode(content: .sequence(elements), origin: place)
        case .mapping(let mapping):
            var entries: [SourceEntry] = []
            for (key, value) in mapping {
                guard case .scalar(let name) = key, key.anchor == nil else {
                    let keyPlace = position(of: key)
                    throw ConfigurationError(
                        origin: keyPlace, path: path,
                        message: key.anchor == nil
                            ? "a key must be a plain text" : "anchors and aliases are not supported; write the value out")
                }
                entries.append(
                    SourceEntry(
                        key: name.string, keyOrigin: position(of: key),
                        value: try convert(value, path: joinPath(path, name.string), depth: depth + 1)))
            }
            return SourceNode(content: .mapping(entries), origin: place)
        case .alias:
            throw refuse("anchors and aliases are not supported; write the value out")
        }
    }

    private func position(of node: Node) -> ValueOrigin { origin(node.mark?.line ?? 1, node.mark?.column ?? 1) }

    // MARK: - Keys that come twice

    /// Yams names the key and where it stands first, but not in which mapping nor where it stands again. So the first one is
    /// renamed in a copy of the text, and the tree of the copy shows both.
    private func describeDuplicate(_ key: String, first: Mark) -> ConfigurationError {
        let fallback = ConfigurationError(origin: origin(first.line, first.column), path: key, message: "the key comes twice")
        guard let renamed = textRenamingKey(at: first),
            let root = try? Yams.compose(yaml: renamed, .basic, .default, .utf8),
            let (path, second) = find(key, in: root, path: "", depth: 0)
        else { return fallback }
        let shift = second.line == first.line ? YAMLSource.duplicateMark.unicodeScalars.count : 0
        return ConfigurationError(
            origin: origin(second.line, second.column - shift), path: path,
            message: "the key comes twice, first at line \(first.line)")
    }

    private func textRenamingKey(at mark: Mark) -> String? {
        // Aliases stay inert here as well: this text is composed for a mere message.
        let inert = text.replacing("*", with: YAMLSource.inertAsterisk)
        var lines = inert.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard lines.indices.contains(mark.line - 1) else { return nil }
        var scalars = Array(lines[mark.line - 1].unicodeScalars)
        var column = mark.column - 1
        guard scalars.indices.contains(column) else { return nil }
        if scalars[column] == "\"" || scalars[column] == "'" { column += 1 }
        scalars.insert(contentsOf: YAMLSource.duplicateMark.unicodeScalars, at: column)
        var line = String.UnicodeScalarView()
        line.append(contentsOf: scalars)
        lines[mark.line - 1] = String(line)
        return lines.joined(separator: "\n")
    }

    /// The path of `key` and the mark of its second occurrence, in the mapping that holds the renamed first one.
    private func find(_ key: String, in node: Node, path: String, depth: Int) -> (String, Mark)? {
        guard depth <= YAMLSource.maximumDepth else { return nil }
        if case .sequence(let sequence) = node {
            for (index, element) in sequence.enumerated() {
                if let hit = find(key, in: element, path: "\(path)[\(index)]", depth: depth + 1) { return hit }
            }
        }
        guard case .mapping(let mapping) = node else { return nil }
        if mapping.contains(where: { $0.key.scalar?.string == YAMLSource.duplicateMark + key }) {
            let again = mapping.first { $0.key.scalar?.string == key }
            return again?.key.mark.map { (joinPath(path, key), $0) }
        }
        for (name, value) in mapping {
            if let hit = find(key, in: value, path: joinPath(path, name.scalar?.string ?? "?"), depth: depth + 1) {
                return hit
            }
        }
        return nil
    }
}
