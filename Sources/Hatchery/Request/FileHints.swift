import Glibc

/// What usually helps where a file of the caller's cannot be opened.
enum FileHints {
    static func hint(_ errno: Int32) -> String {
        switch errno {
        case ENOENT: "there is no such file; a relative path begins at the current directory"
        case EACCES, EPERM: "the user who asks must be able to read it, and to search every directory on the way"
        case ENOTDIR: "a part of the path, or the path itself, is no directory"
        case EISDIR: "a file is wanted here, not a directory"
        case ELOOP: "symbolic links lead in a circle"
        case EMFILE, ENFILE: "too many files are open: see ulimit -n"
        default: ""
        }
    }
}
