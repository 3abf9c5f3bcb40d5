/// One key of the schema, as documentation, completion and `config show` see it. The tree of keys is made from the same
/// table that decodes, so it cannot disagree with it.
public struct ConfigurationKey: Sendable, Equatable {
    public enum Shape: Sendable, Equatable {
        /// A leaf. `type` is what to write there, `text` the value at hand as YAML (`never` and the like included);
        /// `required` keys have no default.
        case value(type: String, form: Form, text: String, required: Bool)
        /// A mapping with these keys.
        case section([ConfigurationKey])
        /// A mapping from names to mappings, such as `profiles`. `template` shows the keys of a new member.
        case named(template: [ConfigurationKey], members: [Member])
        /// A list of mappings that each have a `name`, such as `zygotes`.
        case list(template: [ConfigurationKey], members: [Member])
    }

    /// How a leaf is written; decides how the text of an override is read.
    public enum Form: Sendable { case scalar, list, mapping }

    public struct Member: Sendable, Equatable {
        public var name: String
        public var keys: [ConfigurationKey]
    }

    public var name: String
    public var shape: Shape
    /// One sentence for the documentation, without its final point.
    public var summary: String

    package init(name: String, shape: Shape, summary: String) {
        self.name = name
        self.shape = shape
        self.summary = summary
    }

    /// A leaf with its whole path.
    public struct Leaf: Sendable, Equatable {
        /// `socket.path`; `profiles.NAME.hostname` in a template.
        public var path: String
        public var type: String
        /// The value as YAML.
        public var text: String
        public var required: Bool
        public var summary: String
    }

    /// All leaves below `keys`: those of the members that exist, or, with `template`, once for every kind of member under
    /// the name `NAME`.
    public static func leaves(of keys: [ConfigurationKey], under parent: String = "", template: Bool = false) -> [Leaf] {
        keys.flatMap { key -> [Leaf] in
            let path = joinPath(parent, key.name)
            switch key.shape {
            case .value(let type, _, let text, let required):
                return [Leaf(path: path, type: type, text: text, required: required, summary: key.summary)]
            case .section(let children):
                return leaves(of: children, under: path, template: template)
            case .named(let pattern, let members), .list(let pattern, let members):
                if template { return leaves(of: pattern, under: "\(path).NAME", template: true) }
                return members.flatMap { leaves(of: $0.keys, under: "\(path).\($0.name)") }
            }
        }
    }
}
