// The bytes of the replies. Replies may gain fields: a reader passes over tags that it does not know.

extension Receipt {
    func encode(into writer: inout FieldWriter) {
        writer.append(tag: 1, integer: active.rawValue)
        for entry in missing {
            writer.append(tag: 2) { inner in
                inner.append(tag: 1, integer: entry.layer.rawValue)
                inner.append(tag: 2, string: entry.why)
            }
        }
    }

    init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init()
        while let field = try reader.next() {
            switch field.tag {
            case 1: active = LayerSet(rawValue: try field.integer())
            case 2:
                var inner = FieldReader(field.bytes)
                var layer: Layer?
                var why = ""
                while let part = try inner.next() {
                    switch part.tag {
                    case 1: layer = Layer(rawValue: try part.integer())
                    case 2: why = try part.string(limit: WireLimits.frameBytes)
                    default: break
                    }
                }
                if let layer { missing.append(Missing(layer: layer, why: why)) }
            default: break
            }
        }
    }
}

extension Spawned {
    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, string: id)
        writer.append(tag: 2, integer: pid)
        writer.append(tag: 3, string: zygote)
        writer.append(tag: 4, integer: generation)
        writer.append(tag: 5, integer: UInt8(nurseryHit ? 1 : 0))
        writer.append(tag: 6, integer: spawnNanoseconds)
        writer.append(tag: 7) { receipt.encode(into: &$0) }
        writer.append(tag: 8, integer: wallNanoseconds)
        if let outputBytes { writer.append(tag: 9, integer: outputBytes) }
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(
            id: "", pid: 0, zygote: "", generation: 0, nurseryHit: false, spawnNanoseconds: 0, receipt: Receipt(),
            wallNanoseconds: 0)
        while let field = try reader.next() {
            switch field.tag {
            case 1: id = try field.string(limit: WireLimits.nameBytes)
            case 2: pid = try field.integer()
            case 3: zygote = try field.string(limit: WireLimits.nameBytes)
            case 4: generation = try field.integer()
            case 5: nurseryHit = try field.bool()
            case 6: spawnNanoseconds = try field.integer()
            case 7: receipt = try Receipt(decoding: FieldReader(field.bytes))
            case 8: wallNanoseconds = try field.integer()
            case 9: outputBytes = try field.integer()
            default: break
            }
        }
    }
}

extension Ended {
    public func encoded() -> [UInt8] {
        var writer = FieldWriter()
        writer.append(tag: 1, string: id)
        writer.append(tag: 2, integer: verdict.rawValue)
        if let exitCode { writer.append(tag: 3, integer: exitCode) }
        if let signal { writer.append(tag: 4, integer: signal) }
        writer.append(tag: 5, integer: wallNanoseconds)
        writer.append(tag: 6, integer: cpuNanoseconds)
        writer.append(tag: 7, integer: peakMemoryBytes)
        writer.append(tag: 8, integer: peakProcesses)
        if !limit.isEmpty { writer.append(tag: 9, string: limit) }
        if !observed.isEmpty { writer.append(tag: 10, string: observed) }
        for file in filesOut {
            writer.append(tag: 11) { inner in
                inner.append(tag: 1, string: file.path)
                inner.append(tag: 2, integer: file.errno)
            }
        }
        for violation in violations {
            writer.append(tag: 12) { inner in
                inner.append(tag: 1, string: violation.syscall)
                inner.append(tag: 2, integer: violation.count)
            }
        }
        return writer.bytes
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(id: "", verdict: .lost)
        while let field = try reader.next() {
            switch field.tag {
            case 1: id = try field.string(limit: WireLimits.nameBytes)
            case 2: verdict = try field.enumeration(Verdict.self)
            case 3: exitCode = try field.integer()
            case 4: signal = try field.integer()
            case 5: wallNanoseconds = try field.integer()
            case 6: cpuNanoseconds = try field.integer()
            case 7: peakMemoryBytes = try field.integer()
            case 8: peakProcesses = try field.integer()
            case 9: limit = try field.string(limit: WireLimits.frameBytes)
            case 10: observed = try field.string(limit: WireLimits.frameBytes)
            case 11:
                var inner = FieldReader(field.bytes)
                var file = FileOut(path: "")
                while let part = try inner.next() {
                    switch part.tag {
                    case 1: file.path = try part.string(limit: WireLimits.pathBytes)
                    case 2: file.errno = try part.integer()
                    default: break
                    }
                }
                filesOut.append(file)
            case 12:
                var inner = FieldReader(field.bytes)
                var violation = Violation(syscall: "", count: 0)
                while let part = try inner.next() {
                    switch part.tag {
                    case 1: violation.syscall = try part.string(limit: WireLimits.nameBytes)
                    case 2: violation.count = try part.integer()
                    default: break
                    }
                }
                violations.append(violation)
            default: break
            }
        }
    }
}

extension SandboxListing {
    public func encode(into writer: inout FieldWriter) {
        writer.append(tag: 1, string: id)
        writer.append(tag: 2, integer: pid)
        writer.append(tag: 3, string: zygote)
        writer.append(tag: 4, string: profile)
        writer.append(tag: 5, string: title)
        writer.append(tag: 6, integer: ownerUID)
        writer.append(tag: 7, integer: ageNanoseconds)
        if let usage {
            writer.append(tag: 8, integer: usage.memoryBytes)
            writer.append(tag: 9, integer: usage.cpuNanoseconds)
            writer.append(tag: 10, integer: usage.processes)
        }
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(id: "", pid: 0, zygote: "", profile: "", title: "", ownerUID: 0, ageNanoseconds: 0)
        var used = Usage(memoryBytes: 0, cpuNanoseconds: 0, processes: 0)
        while let field = try reader.next() {
            switch field.tag {
            case 1: id = try field.string(limit: WireLimits.nameBytes)
            case 2: pid = try field.integer()
            case 3: zygote = try field.string(limit: WireLimits.nameBytes)
            case 4: profile = try field.string(limit: WireLimits.nameBytes)
            case 5: title = try field.string(limit: WireLimits.titleBytes)
            case 6: ownerUID = try field.integer()
            case 7: ageNanoseconds = try field.integer()
            case 8:
                used.memoryBytes = try field.integer()
                usage = used
            case 9:
                used.cpuNanoseconds = try field.integer()
                usage = used
            case 10:
                used.processes = try field.integer()
                usage = used
            default: break
            }
        }
    }
}

extension ZygoteListing {
    public func encode(into writer: inout FieldWriter) {
        writer.append(tag: 1, string: name)
        writer.append(tag: 2, string: kind)
        writer.append(tag: 3, integer: state.rawValue)
        writer.append(tag: 4, integer: generation)
        writer.append(tag: 5, integer: pid)
        writer.append(tag: 6, integer: spawned)
        writer.append(tag: 7, string: message)
        writer.append(tag: 8, integer: parked)
        writer.append(tag: 9, integer: nurseryHits)
        writer.append(tag: 10, integer: nurseryMisses)
        writer.append(tag: 11, integer: heap.bytes)
        writer.append(tag: 12, integer: heap.mappings)
        writer.append(tag: 13, string: heap.note)
        writer.append(tag: 14, integer: pageTableBytes)
        writer.append(tag: 15, integer: anonymousBytes)
        for handler in handlers { writer.append(tag: 16, string: handler) }
        for finding in findings { writer.append(tag: 17, string: finding) }
    }

    public init(decoding reader: FieldReader) throws(FieldError) {
        var reader = reader
        self.init(name: "", kind: "", state: .failed, generation: 0, pid: 0)
        while let field = try reader.next() {
            switch field.tag {
            case 1: name = try field.string(limit: WireLimits.nameBytes)
            case 2: kind = try field.string(limit: WireLimits.nameBytes)
            case 3: state = try field.enumeration(State.self)
            case 4: generation = try field.integer()
            case 5: pid = try field.integer()
            case 6: spawned = try field.integer()
            case 7: message = try field.string(limit: WireLimits.frameBytes)
            case 8: parked = try field.integer()
            case 9: nurseryHits = try field.integer()
            case 10: nurseryMisses = try field.integer()
            case 11: heap.bytes = try field.integer()
            case 12: heap.mappings = try field.integer()
            case 13: heap.note = try field.string(limit: WireLimits.frameBytes)
            case 14: pageTableBytes = try field.integer()
            case 15: anonymousBytes = try field.integer()
            case 16: handlers.append(try field.string(limit: WireLimits.nameBytes))
            case 17: findings.append(try field.string(limit: WireLimits.frameBytes))
            default: break
            }
        }
    }
}

/// A reply that is a list of records, each a field with tag 1.
public enum ListCoding {
    /// A text beside the records, for people.
    public static let note: UInt16 = 2

    public static func notes(_ reader: FieldReader) throws(FieldError) -> [String] {
        var reader = reader
        var notes: [String] = []
        while let field = try reader.next() {
            if field.tag == note { notes.append(try field.string(limit: WireLimits.frameBytes)) }
        }
        return notes
    }

    public static func encode<Record>(
        _ records: [Record], _ encode: (Record, inout FieldWriter) -> Void
    ) -> [UInt8] {
        var writer = FieldWriter()
        for record in records { writer.append(tag: 1) { encode(record, &$0) } }
        return writer.bytes
    }

    public static func decode<Record>(
        _ reader: FieldReader, _ decode: (FieldReader) throws(FieldError) -> Record
    ) throws(FieldError) -> [Record] {
        var reader = reader
        var records: [Record] = []
        while let field = try reader.next() {
            if field.tag == 1 { records.append(try decode(FieldReader(field.bytes))) }
        }
        return records
    }
}
