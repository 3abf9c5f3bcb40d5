import Glibc
import HatcheryProtocol

/// The form of a launch plan, which a client wrote and a child reads.
public enum LaunchPlanCheck {
    /// Checks a launch plan where it lies. After this the child may rely on its form.
    public static func perform(_ bytes: UnsafeRawBufferPointer, for kind: ZygoteKind) throws(FieldError) {
        var reader = FieldReader(bytes)
        var mode: LaunchPlan.Mode?
        var hasTarget = false
        var entries = 0
        var seen: Set<UInt16> = []
        while let field = try reader.next() {
            let mayRepeat = field.tag == LaunchPlan.Tag.argument || field.tag == LaunchPlan.Tag.environment
            if !mayRepeat, !seen.insert(field.tag).inserted { throw .duplicate(tag: field.tag) }
            switch field.tag {
            case LaunchPlan.Tag.mode:
                let raw: UInt8 = try field.integer()
                guard let known = LaunchPlan.Mode(rawValue: raw), known.fits(kind) else {
                    throw .outOfRange(tag: field.tag, value: UInt64(raw))
                }
                mode = known
            case LaunchPlan.Tag.target:
                if holdsNUL(field.bytes) { throw .containsNUL(tag: field.tag) }
                if field.bytes.count > WireLimits.pathBytes { throw .tooLong(tag: field.tag, limit: WireLimits.pathBytes) }
                hasTarget = !field.bytes.isEmpty
            case LaunchPlan.Tag.argument, LaunchPlan.Tag.environment:
                entries += 1
                if entries > WireLimits.arguments { throw .tooMany(tag: field.tag, limit: WireLimits.arguments) }
                if holdsNUL(field.bytes) { throw .containsNUL(tag: field.tag) }
                if field.tag == LaunchPlan.Tag.environment {
                    // NAME=VALUE with a name.
                    guard let equals = field.bytes.firstIndex(of: UInt8(ascii: "=")), equals > 0 else {
                        throw .outOfRange(tag: field.tag, value: UInt64(field.bytes.count))
                    }
                }
            case LaunchPlan.Tag.workingDirectory, LaunchPlan.Tag.plots: _ = try field.string(limit: WireLimits.pathBytes)
            case LaunchPlan.Tag.tellsImports: _ = try field.bool()
            case LaunchPlan.Tag.seed: _ = try field.integer(UInt64.self)
            case LaunchPlan.Tag.source, LaunchPlan.Tag.jsonArguments: break
            default: throw .unknownTag(field.tag)
            }
        }
        guard let mode else { throw .missing(tag: LaunchPlan.Tag.mode) }
        if mode != .code && !hasTarget { throw .missing(tag: LaunchPlan.Tag.target) }
    }

    /// By memchr: a plan may have 32 MiB of arguments, and the loop reads them.
    private static func holdsNUL(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let start = bytes.baseAddress else { return false }
        return memchr(start, 0, bytes.count) != nil
    }
}
