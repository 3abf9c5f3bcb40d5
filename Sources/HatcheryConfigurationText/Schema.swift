/// The table of one mapping's keys, and what must hold between them. `Root` is the Swift value that the mapping describes.
///
/// A table is all that a section of the configuration writes down. Unknown keys, missing keys, wrong types, defaults, the
/// record of origins, overrides and the documentation follow from it.
package struct Schema<Root: Sendable>: Sendable {
    package let fields: [Field<Root>]
    /// What no single key can tell, such as a default above its maximum. It runs after all keys were decoded.
    package let check: @Sendable (Root, Section) throws(ConfigurationError) -> Void

    package init(
        _ fields: [Field<Root>],
        check: @escaping @Sendable (Root, Section) throws(ConfigurationError) -> Void = { _, _ in }
    ) {
        self.fields = fields
        self.check = check
    }

    /// Reads `node` over the defaults that `root` holds.
    package func decode(_ node: SourceNode, path: String, into root: inout Root, _ origins: inout Origins) throws(ConfigurationError) {
        guard let entries = node.entries else {
            throw ConfigurationError(
                origin: node.origin, path: path, message: "expected a mapping of keys, found \(node.found)")
        }
        // Before anything else: where a required key is misspelled, the misspelling is what the operator must hear of.
        for entry in entries where !fields.contains(where: { $0.name == entry.key }) {
            throw unknownKey(entry.key, path: path, origin: entry.keyOrigin, known: fields.map(\.name))
        }
        for field in fields where field.isRequired && node[field.name] == nil {
            throw ConfigurationError(origin: node.origin, path: path, message: "the key '\(field.name)' is missing")
        }
        for entry in entries {
            guard let field = fields.first(where: { $0.name == entry.key }) else { continue }
            try field.decode(entry.value, joinPath(path, entry.key), &root, &origins)
        }
        try check(root, Section(node: node, path: path))
    }

    /// The keys with the values of `root`.
    package func keys(of root: Root) -> [ConfigurationKey] { fields.map { $0.describe(root) } }
}

/// Where each value that somebody wrote came from, by path. What is not in it is built in.
package typealias Origins = [String: ValueOrigin]

/// A decoded mapping, for the checks between keys: it makes errors that point at the right one.
package struct Section: Sendable {
    package let node: SourceNode
    package let path: String

    package init(node: SourceNode, path: String) {
        self.node = node
        self.path = path
    }

    package func has(_ key: String) -> Bool { node[key] != nil }

    package func error(_ key: String, _ message: String, suggestion: String? = nil) -> ConfigurationError {
        ConfigurationError(
            origin: node[key]?.origin ?? node.origin, path: joinPath(path, key), message: message, suggestion: suggestion)
    }
}

package func unknownKey(_ key: String, path: String, origin: ValueOrigin, known: [String]) -> ConfigurationError {
    let suggestion = nearestName(to: key, in: known)
    // Where none is near, all of them help.
    let message = suggestion == nil ? "unknown key; the keys here are \(known.joined(separator: ", "))" : "unknown key"
    return ConfigurationError(origin: origin, path: joinPath(path, key), message: message, suggestion: suggestion)
}

/// One key of a table.
package struct Field<Root: Sendable>: Sendable {
    package let name: String
    package let isRequired: Bool
    package let decode: @Sendable (SourceNode, String, inout Root, inout Origins) throws(ConfigurationError) -> Void
    package let describe: @Sendable (Root) -> ConfigurationKey

    package init(
        name: String, isRequired: Bool,
        decode: @escaping @Sendable (SourceNode, String, inout Root, inout Origins) throws(ConfigurationError) -> Void,
        describe: @escaping @Sendable (Root) -> ConfigurationKey
    ) {
        self.name = name
        self.isRequired = isRequired
        self.decode = decode
        self.describe = describe
    }
}

extension Field {
    /// A leaf.
    package static func value<Value: Sendable>(
        _ name: String, _ keyPath: WritableKeyPath<Root, Value> & Sendable, _ codec: ValueCodec<Value>,
        required: Bool = false, _ summary: String
    ) -> Field {
        Field(name: name, isRequired: required) { node, path, root, origins throws(ConfigurationError) in
            root[keyPath: keyPath] = try codec.decode(node, path: path)
            origins[path] = node.origin
        } describe: { root in
            ConfigurationKey(
                name: name,
                shape: .value(
                    type: codec.type, form: codec.form, text: codec.format(root[keyPath: keyPath]), required: required),
                summary: summary)
        }
    }

    /// A mapping with a table of its own.
    package static func section<Value: Sendable>(
        _ name: String, _ keyPath: WritableKeyPath<Root, Value> & Sendable, _ schema: Schema<Value>, _ summary: String
    ) -> Field {
        Field(name: name, isRequired: false) { node, path, root, origins throws(ConfigurationError) in
            var value = root[keyPath: keyPath]
            try schema.decode(node, path: path, into: &value, &origins)
            root[keyPath: keyPath] = value
        } describe: { root in
            ConfigurationKey(name: name, shape: .section(schema.keys(of: root[keyPath: keyPath])), summary: summary)
        }
    }

    /// A mapping from names to mappings. A name that exists by default is read over its default, any other one over `initial`.
    package static func named<Value: Sendable>(
        _ name: String, _ keyPath: WritableKeyPath<Root, [String: Value]> & Sendable, initial: Value,
        _ schema: Schema<Value>, _ summary: String
    ) -> Field {
        Field(name: name, isRequired: false) { node, path, root, origins throws(ConfigurationError) in
            guard let entries = node.entries else {
                throw ConfigurationError(
                    origin: node.origin, path: path, message: "expected a mapping of names, found \(node.found)")
            }
            for entry in entries {
                let memberPath = joinPath(path, entry.key)
                if let problem = MemberName.problem(with: entry.key) {
                    throw ConfigurationError(origin: entry.keyOrigin, path: memberPath, message: problem)
                }
                var value = root[keyPath: keyPath][entry.key] ?? initial
                try schema.decode(entry.value, path: memberPath, into: &value, &origins)
                root[keyPath: keyPath][entry.key] = value
            }
        } describe: { root in
            let members = root[keyPath: keyPath].sorted { $0.key < $1.key }.map { member in
                ConfigurationKey.Member(name: member.key, keys: schema.keys(of: member.value))
            }
            return ConfigurationKey(
                name: name, shape: .named(template: schema.keys(of: initial), members: members), summary: summary)
        }
    }

    /// A list of mappings that each have a `name`, all different. The list replaces the default one as a whole.
    package static func list<Value: Sendable>(
        _ name: String, _ keyPath: WritableKeyPath<Root, [Value]> & Sendable, initial: Value,
        memberName: @escaping @Sendable (Value) -> String, _ schema: Schema<Value>, _ summary: String
    ) -> Field {
        Field(name: name, isRequired: false) { node, path, root, origins throws(ConfigurationError) in
            guard case .sequence(let elements) = node.content else {
                throw ConfigurationError(origin: node.origin, path: path, message: "expected a list, found \(node.found)")
            }
            var values: [Value] = []
            var firstOrigins: [String: ValueOrigin] = [:]
            for (index, element) in elements.enumerated() {
                let memberPath = element.memberName.map { joinPath(path, $0) } ?? "\(path)[\(index)]"
                var value = initial
                try schema.decode(element, path: memberPath, into: &value, &origins)
                let nameOrigin = element["name"]?.origin ?? element.origin
                if let first = firstOrigins.updateValue(nameOrigin, forKey: memberName(value)) {
                    throw ConfigurationError(
                        origin: nameOrigin, path: memberPath,
                        message: "the name '\(memberName(value))' comes twice, first at \(first)")
                }
                values.append(value)
            }
            root[keyPath: keyPath] = values
        } describe: { root in
            let members = root[keyPath: keyPath].map { value in
                ConfigurationKey.Member(name: memberName(value), keys: schema.keys(of: value))
            }
            return ConfigurationKey(
                name: name, shape: .list(template: schema.keys(of: initial), members: members), summary: summary)
        }
    }
}
