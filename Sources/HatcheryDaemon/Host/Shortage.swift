import Glibc

/// What is lacking at this moment and will be there again when others let go of it: descriptors, memory, processes. What failed for
/// that reason is worth another try; anything else fails in the same way again.
enum Shortage {
    static func isMeant(by errno: Int32) -> Bool { [EMFILE, ENFILE, ENOMEM, EAGAIN].contains(errno) }
}
