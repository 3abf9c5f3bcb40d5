import Glibc
import HatcheryProtocol
import HatcheryZygote

// The C interface that Sources/HatcheryDaemon/Python/zygote.py calls through ctypes. The interpreter hosts this library, so
// nothing here may print, start a thread or throw.

/// Tells the daemon why the zygote cannot serve, such as the traceback of a failing import. Returns 0.
@_cdecl("hatchery_zygote_report_failure")
public func reportFailure(_ control: Int32, _ message: UnsafePointer<UInt8>?, _ length: Int) -> Int32 {
    let bytes = UnsafeBufferPointer(start: message, count: message == nil ? 0 : length)
    ServeLoop.report(control, .failed(message: String(decoding: bytes, as: UTF8.self)))
    return 0
}

/// Tells the daemon something that its operator should know and that keeps nothing from serving. Returns 0.
@_cdecl("hatchery_zygote_report_finding")
public func reportFinding(_ control: Int32, _ message: UnsafePointer<UInt8>?, _ length: Int) -> Int32 {
    let bytes = UnsafeBufferPointer(start: message, count: message == nil ? 0 : length)
    ServeLoop.report(control, .finding(String(decoding: bytes, as: UTF8.self)))
    return 0
}

/// What the preload has left behind so far: a line for each finding, its kind, a tab, what it is, a tab, and why that matters;
/// kinds that are refused begin with `!`. As many whole lines as there is room for. Returns the length.
@_cdecl("hatchery_zygote_audit")
public func audit(_ control: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ room: Int) -> Int {
    var length = 0
    for finding in Audit.look(control: control) {
        let mark = finding.kind.isRefused ? "!" : ""
        let line = Array("\(mark)\(finding.kind.rawValue)\t\(finding.what)\t\(finding.kind.advice)\n".utf8)
        guard let buffer, length + line.count <= room else { break }
        (buffer + length).update(from: line, count: line.count)
        length += line.count
    }
    return length
}

/// Proves that the process is single-threaded, freezes its heap unless `freeze` is 0, says ready and serves. Never returns:
/// not in the zygote, not in a child.
@_cdecl("hatchery_zygote_serve")
public func serve(
    _ control: Int32, _ prepare: (@convention(c) (Int32) -> Int32)?,
    _ main: (@convention(c) (UnsafeRawPointer?, Int) -> Int32)?, _ freeze: Int32
) -> Int32 {
    ServeLoop.run(control: control, runtime: PayloadRuntime(prepare: prepare, main: main), freeze: freeze != 0)
}
