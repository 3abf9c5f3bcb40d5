/// One node of what the operator wrote, with the place where it was written. The file, the environment and the overrides
/// all become this one tree, so that one decoder checks them and every error can say whose text it is about.
package struct SourceNode: Sendable {
    package enum Content: Sendable {
        /// A key without a value: `key:`, `key: ~`, `key: null`.
        case nothing
        /// `isQuoted` tells the text "5" from the number 5. Nothing else is guessed from how a scalar looks: whether
        /// `no` is a word or false depends on the key, not on YAML's table of booleans.
        case scalar(String, isQuoted: Bool)
        case sequence([SourceNode])
        case mapping([SourceEntry])
    }

    package var content: Content
    package var origin: ValueOrigin

    package init(content: Content, origin: ValueOrigin) {
        self.content = content
        self.origin = origin
    }

    /// What stands here, as the end of "expected …, found …".
    package var found: String {
        switch content {
        case .nothing: "nothing"
        case .scalar(let text, let isQuoted):
            isQuoted ? "the text \"\(SourceNode.abridged(text))\"" : "'\(SourceNode.abridged(text))'"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// The entries of a mapping; those of an absent one are none. Nil for any other node.
    package var entries: [SourceEntry]? {
        switch content {
        case .nothing: []
        case .mapping(let entries): entries
        default: nil
        }
    }

    package subscript(key: String) -> SourceNode? { entries?.first { $0.key == key }?.value }

    /// Replaces the value of `key`, or adds it at the end. Does nothing to a node that is not a mapping.
    package mutating func set(_ key: String, to value: SourceNode) {
        guard var entries else { return }
        if let index = entries.firstIndex(where: { $0.key == key }) {
            entries[index].value = value
        } else {
            entries.append(SourceEntry(key: key, keyOrigin: value.origin, value: value))
        }
        content = .mapping(entries)
    }

    /// The scalar under `name`, with which a member of a list is called.
    package var memberName: String? {
        guard case .scalar(let text, _)? = self["name"]?.content else { return nil }
        return text
    }

    private static func abridged(_ text: String) -> String {
        text.count <= 40 ? text : text.prefix(40) + "…"
    }
}

package struct SourceEntry: Sendable {
    package var key: String
    package var keyOrigin: ValueOrigin
    package var value: SourceNode

    package init(key: String, keyOrigin: ValueOrigin, value: SourceNode) {
        self.key = key
        self.keyOrigin = keyOrigin
        self.value = value
    }
}

/// `parent.key`, or `key` at the top.
package func joinPath(_ parent: String, _ key: String) -> String {
    parent.isEmpty ? key : "\(parent).\(key)"
}
