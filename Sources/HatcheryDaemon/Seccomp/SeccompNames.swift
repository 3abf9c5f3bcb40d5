import CSeccomp
import Glibc

/// The words that a policy may use: calls, errnos, constants.
enum SeccompNames {
    /// Calls that are newer than the libseccomp of our oldest distribution (2.5.4: Linux 5.17). Without this table a
    /// policy could not name them. Numbers from 424 on are the same on every architecture.
    static let newerSyscalls: [String: UInt32] = [
        "cachestat": 451,
        "fchmodat2": 452,
        "map_shadow_stack": 453,
        "futex_wake": 454,
        "futex_wait": 455,
        "futex_requeue": 456,
        "statmount": 457,
        "listmount": 458,
        "lsm_get_self_attr": 459,
        "lsm_set_self_attr": 460,
        "lsm_list_modules": 461,
        "mseal": 462,
        "setxattrat": 463,
        "getxattrat": 464,
        "listxattrat": 465,
        "removexattrat": 466,
        "open_tree_attr": 467,
        "file_getattr": 468,
        "file_setattr": 469,
        "listns": 470,
    ]

    /// As above, x86-64 only.
    static let newerSyscallsX8664: [String: UInt32] = ["uretprobe": 335, "uprobe": 336]

    /// The number of a call, nil where the architecture does not have it.
    static func number(of name: String, on architecture: SeccompArchitecture) -> UInt32? {
        let number = seccomp_syscall_resolve_name_arch(architecture.token, name)
        if number >= 0 { return UInt32(number) }
        if architecture == .x86_64, let number = newerSyscallsX8664[name] { return number }
        return newerSyscalls[name]
    }

    /// The name of a call; the number itself where nobody here knows it.
    static func name(of number: UInt32, on architecture: SeccompArchitecture = .native) -> String {
        if let name = seccomp_syscall_resolve_num_arch(architecture.token, Int32(number)) {
            defer { free(name) }
            return String(cString: name)
        }
        if architecture == .x86_64, let name = newerSyscallsX8664.first(where: { $0.value == number })?.key { return name }
        return newerSyscalls.first { $0.value == number }?.key ?? "\(number)"
    }

    /// A call that exists somewhere. libseccomp answers -1 for a word that it does not know at all, and other negative
    /// numbers for calls of other architectures.
    static func isSyscall(_ name: String) -> Bool {
        newerSyscalls[name] != nil || newerSyscallsX8664[name] != nil
            || seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR
    }

    /// All names, for suggestions.
    static func allSyscalls() -> [String] {
        var names = Set(newerSyscalls.keys).union(newerSyscallsX8664.keys)
        for architecture in SeccompArchitecture.allCases {
            for number in Int32(0)..<600 {
                guard let name = seccomp_syscall_resolve_num_arch(architecture.token, number) else { continue }
                names.insert(String(cString: name))
                free(name)
            }
        }
        return names.sorted()
    }

    static let errnos: [String: Int32] = [
        "EACCES": EACCES,
        "EAFNOSUPPORT": EAFNOSUPPORT,
        "EINVAL": EINVAL,
        "ENODEV": ENODEV,
        "ENOENT": ENOENT,
        "ENOSYS": ENOSYS,
        "ENOTTY": ENOTTY,
        "EOPNOTSUPP": EOPNOTSUPP,
        "EPERM": EPERM,
        "ENOPROTOOPT": ENOPROTOOPT,
        "EPROTONOSUPPORT": EPROTONOSUPPORT,
        "ESOCKTNOSUPPORT": ESOCKTNOSUPPORT,
    ]

    /// The word that was probably meant: at most a third of its letters are wrong. Two swapped letters count as two.
    static func nearest(to word: String, among candidates: [String]) -> String? {
        let limit = word.count < 4 ? 1 : max(2, word.count / 3)
        return candidates.map { (distance: editDistance(word, $0), word: $0) }
            .filter { $0.distance <= limit }
            .min { ($0.distance, $0.word) < ($1.distance, $1.word) }?.word
    }

    /// How many letters must be put in, taken out or replaced to make one word of the other.
    private static func editDistance(_ first: String, _ second: String) -> Int {
        let second = Array(second.utf8)
        var row = Array(0...second.count)
        for (index, letter) in first.utf8.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in 0..<second.count {
                let replaced = diagonal + (letter == second[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[second.count]
    }
}
