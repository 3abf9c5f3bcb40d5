import Glibc
import HatcheryProtocol
import HatcherySystem

/// What a preload left behind that all children would share, or could read. Looked for in the zygote before it is ready; a Python
/// zygote looks after each module, to name the one at fault.
package enum Audit {
    package struct Finding: Hashable {
        package var kind: AuditKind
        /// As in "… left `what`".
        package var what: String
    }

    /// - Parameter control: the zygote's connection, which belongs to it.
    package static func look(control: Int32) -> [Finding] {
        descriptors(except: control) + sharedMappings() + secrets()
    }

    /// Children close them all before a program starts (step 34). A parked child holds them until then.
    private static func descriptors(except control: Int32) -> [Finding] {
        guard let directory = try? Files.open("/proc/self/fd", flags: O_RDONLY | O_DIRECTORY),
            let names = try? Files.names(in: directory.raw, limit: 65_536)
        else { return [] }
        return names.compactMap { name in
            guard let number = Int32(name), number > 2, number != control else { return nil }
            var target = [UInt8](repeating: 0, count: 256)
            let length = target.withUnsafeMutableBytes { readlink("/proc/self/fd/\(name)", $0.baseAddress!, $0.count) }
            // The directory that is being read is gone by now.
            guard length > 0 else { return nil }
            let text = String(decoding: target[..<length], as: UTF8.self)
            guard !text.hasPrefix("/proc/") || !text.hasSuffix("/fd") else { return nil }
            let isSocket = text.hasPrefix("socket:")
            return Finding(kind: isSocket ? .socket : .descriptor, what: "descriptor \(name) open (\(text))")
        }
    }

    /// SECURITY: what one child writes into a shared mapping every other one reads. The kernel's flag `sh` says that it is
    /// shared and may be written, also where it is mapped for reading just now. Test: aPreloadThatLeavesSharedMemoryIsRefused.
    private static func sharedMappings() -> [Finding] {
        guard let maps = try? Files.readText("/proc/self/maps", limit: 64 << 20), maps.utf8Lines.contains(where: isShared),
            let text = try? Files.readText("/proc/self/smaps", limit: 256 << 20)
        else { return [] }
        var findings: [Finding] = []
        var mapping: Substring?
        for line in text.utf8Lines {
            if isShared(line) {
                mapping = line
            } else if let header = mapping, line.hasPrefix("VmFlags:") {
                if line.split(separator: " ").contains("sh") {
                    let words = header.split(separator: " ", maxSplits: 5)
                    let name = words.count > 5 ? String(words[5]) : "without a name"
                    findings.append(Finding(kind: .sharedMemory, what: "shared memory (\(name), at \(words[0]))"))
                }
                mapping = nil
            }
        }
        return findings
    }

    /// The first line of a mapping whose fourth permission is `s`.
    private static func isShared(_ line: Substring) -> Bool {
        guard let space = line.firstIndex(of: " ") else { return false }
        let rights = line[space...].dropFirst().prefix(5)
        return rights.count == 5 && rights.last == " " && rights.dropFirst(3).first == "s" && line[..<space].contains("-")
    }

    /// Children do not get the preload's environment, but they can read the memory of whoever read it.
    private static func secrets() -> [Finding] {
        var findings: [Finding] = []
        // NULL after clearenv(3), which its Swift type denies.
        guard var entry = unsafeBitCast(environ, to: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?.self) else { return [] }
        while let pointer = entry.pointee {
            let variable = String(cString: pointer)
            let name = String(variable.prefix { $0 != "=" })
            if soundsSecret(name), variable.utf8.count > name.utf8.count + 1 {
                findings.append(Finding(kind: .secret, what: "\(name) in the environment"))
            }
            entry += 1
        }
        return findings
    }

    /// By whole words of the name, so that TOKENIZERS_PARALLELISM is none.
    package static func soundsSecret(_ name: String) -> Bool {
        let words = name.uppercased().split(separator: "_")
        let telling: Set<Substring> = [
            "TOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY",
        ]
        return words.contains(where: telling.contains) || words.count > 1 && words.last == "KEY"
    }
}

extension String {
    fileprivate var utf8Lines: [Substring] { split(separator: "\n") }
}
