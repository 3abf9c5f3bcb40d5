import Glibc
import Hatchery
import HatcheryProtocol
import HatcherySystem

/// The texts of flags as values. Errors are sentences about the text that was written.
public enum FlagValues {
    /// `SRC:DST[:ro or :rw]`; a relative source is the caller's, as it stands.
    public static func mount(_ text: String) throws -> SandboxOptions.Mount {
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        var writable = false
        if parts.count >= 3, let mode = parts.last, mode == "ro" || mode == "rw" {
            writable = mode == "rw"
            parts.removeLast()
        }
        guard parts.count == 2, !parts[0].isEmpty, parts[1].hasPrefix("/") else {
            throw ValueTextError(
                "'\(text)' is not a mount; write SRC:DST, SRC:DST:ro or SRC:DST:rw with an absolute DST")
        }
        return SandboxOptions.Mount(parts[0], at: parts[1], writable: writable)
    }

    /// `DST[:SIZE]`
    public static func temporaryFileSystem(_ text: String) throws -> SpawnRequest.TemporaryFileSystem {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts[0].hasPrefix("/") else {
            throw ValueTextError("'\(text)' is not a temporary file system; write DST or DST:SIZE with an absolute DST")
        }
        let size = parts.count == 2 ? try ByteSize.parse(parts[1]) : nil
        if size == 0 { throw ValueTextError("'\(text)' has no room for anything; leave the size out, and it shares the disk limit") }
        return SpawnRequest.TemporaryFileSystem(destination: parts[0], size: size)
    }

    /// `FILE[:DST]`
    public static func fileIn(_ text: String) throws -> SandboxOptions.FileIn {
        let (file, destination) = try pair(text, "FILE or FILE:DST")
        return SandboxOptions.FileIn(file, to: destination)
    }

    /// `PATH[:DEST]`; without DEST the file gets its own name in the current directory.
    public static func fileOut(_ text: String) throws -> RunOptions.FileOut {
        let (path, destination) = try pair(text, "PATH or PATH:DEST")
        guard let name = path.split(separator: "/").last, !path.hasSuffix("/") else {
            throw ValueTextError("'\(text)' names no file")
        }
        return RunOptions.FileOut(path, to: destination ?? String(name))
    }

    private static func pair(_ text: String, _ form: String) throws -> (String, String?) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard !parts[0].isEmpty, parts.count == 1 || !parts[1].isEmpty else {
            throw ValueTextError("'\(text)' is not \(form)")
        }
        return (parts[0], parts.count == 2 ? parts[1] : nil)
    }

    /// `NAME=VALUE`; `NAME` alone passes the caller's own value on, where there is one.
    public static func variable(_ text: String) throws -> (name: String, value: String)? {
        if let equals = text.firstIndex(of: "="), equals != text.startIndex {
            guard !text[..<equals].contains(where: \.isWhitespace) else {
                throw ValueTextError("'\(text[..<equals])' is not the name of a variable")
            }
            return (String(text[..<equals]), String(text[text.index(after: equals)...]))
        }
        guard !text.isEmpty, !text.hasPrefix("="), !text.contains(where: \.isWhitespace) else {
            throw ValueTextError("'\(text)' is not NAME=VALUE")
        }
        return getenv(text).map { (text, String(cString: $0)) }
    }

    /// Lines of NAME=VALUE; empty ones and those that begin with # are passed over. Quotes mean nothing.
    public static func variables(inFile path: String) throws -> [(name: String, value: String)] {
        let text: String
        do throws(SystemError) {
            text = try Files.readText(path)
        } catch {
            throw ValueTextError("--env-file: \(error)")
        }
        var variables: [(name: String, value: String)] = []
        // By scalars: CR and LF together are one character to Swift, which is not the character LF.
        for (number, scalars) in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let line = String(Substring(scalars.last == "\r" ? scalars.dropLast() : scalars))
            if line.isEmpty || line.hasPrefix("#") { continue }
            do {
                // NAME alone is nothing where the caller has no such variable.
                guard let entry = try variable(line) else { continue }
                variables.append(entry)
            } catch {
                // The line may hold a secret, and is not repeated.
                throw ValueTextError("--env-file: line \(number + 1) of \(path) is not NAME=VALUE")
            }
        }
        return variables
    }

    public static func layers(_ text: String) throws -> LayerSet {
        var layers: LayerSet = []
        // An empty name is an error: a list that came out empty by mistake must not mean that nothing is required.
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let name = part.drop { $0 == " " }
            guard let layer = Layer(name: String(name)) else {
                let known = Layer.allCases.map(\.name).joined(separator: " ")
                throw ValueTextError("'\(name)' is not a layer; these are: \(known)")
            }
            layers.insert(layer)
        }
        return layers
    }

    public static func network(_ text: String) throws -> SpawnRequest.Network {
        guard let network = SpawnRequest.Network(name: text) else {
            throw ValueTextError("'\(text)' is not a network; write none, loopback or nat")
        }
        return network
    }

    /// A whole number, without sign.
    public static func count(_ text: String) throws -> UInt64 {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let value = UInt64(text) else {
            throw ValueTextError("'\(text)' is not a whole number")
        }
        return value
    }

    /// A path as the sandbox has it.
    public static func insidePath(_ text: String) throws -> String {
        guard text.hasPrefix("/") else { throw ValueTextError("'\(text)' is not an absolute path of the sandbox, such as /tmp") }
        return text
    }

    /// A positive number of processors.
    public static func cpus(_ text: String) throws -> Double {
        guard let value = Double(text), value >= 0.001, value <= 1000 else {
            throw ValueTextError("'\(text)' is not a number of processors between 0.001 and 1000")
        }
        return value
    }

    /// The arguments of a call: each is JSON where it reads as JSON, and a string otherwise.
    public static func callArguments(_ words: [String]) -> String {
        var writer = JSONWriter()
        let parts = words.map { word -> String in
            if JSONText.kind(of: word) != nil { return word }
            writer = JSONWriter()
            writer.string(nil, word)
            return writer.text
        }
        return "[" + parts.joined(separator: ", ") + "]"
    }
}
