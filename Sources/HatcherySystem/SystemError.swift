import CHatchery
import Glibc
import HatcheryProtocol

/// A system call that failed: which, with which errno, and on what.
public struct SystemError: Error, Sendable, Hashable, CustomStringConvertible {
    public var call: String
    public var errno: Int32
    /// The path, name or number that the call was about; empty where it adds nothing.
    public var subject: String

    public init(_ call: String, errno: Int32, subject: String = "") {
        self.call = call
        self.errno = errno
        self.subject = subject
    }

    public var description: String {
        subject.isEmpty ? "\(call): \(ErrnoNames.describe(errno))" : "\(call) \(subject): \(ErrnoNames.describe(errno))"
    }
}

/// Turns the convention of CHatchery (a value, or the negative errno) into a Swift error.
@discardableResult
public func check(_ result: Int32, _ call: String, _ subject: @autoclosure () -> String = "") throws(SystemError) -> Int32 {
    if result < 0 { throw SystemError(call, errno: -result, subject: subject()) }
    return result
}

/// The same for libc's own convention: -1, with errno set.
@discardableResult
public func checkErrno<Value: SignedInteger>(
    _ result: Value, _ call: String, _ subject: @autoclosure () -> String = ""
) throws(SystemError) -> Value {
    if result < 0 {
        let saved = hatchery_errno()
        throw SystemError(call, errno: saved, subject: subject())
    }
    return result
}
