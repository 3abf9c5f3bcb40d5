import Glibc
import HatcheryFuzzing

/// The target that HATCHERY_FUZZ names: libFuzzer's own arguments have no room for one.
private let target: FuzzTarget = {
    guard let name = getenv("HATCHERY_FUZZ").map({ String(cString: $0) }), let target = FuzzTarget.named(name) else {
        let message = Array("HATCHERY_FUZZ must name one of: \(FuzzTarget.all.map(\.name).joined(separator: " "))\n".utf8)
        write(STDERR_FILENO, message, message.count)
        exit(2)
    }
    return target
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
    return 0
}
