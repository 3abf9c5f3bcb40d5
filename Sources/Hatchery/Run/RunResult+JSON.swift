import HatcheryProtocol

extension RunResult {
    /// One JSON object on one line, with the names and the order of the contract.
    public var json: String {
        var writer = JSONWriter()
        write(to: &writer)
        return writer.text
    }

    /// - Parameter more: members behind those of the contract.
    package func write(to writer: inout JSONWriter, more: (inout JSONWriter) -> Void = { _ in }) {
        writer.object { result in
            result.string("verdict", verdict.name)
            result.integer("exit_code", exitCode)
            result.integer("signal", signal)
            result.string("signal_name", signalName)
            result.string("stdout", stdout)
            result.string("stderr", stderr)
            result.integer("stdout_truncated_bytes", stdoutTruncatedBytes)
            result.integer("stderr_truncated_bytes", stderrTruncatedBytes)
            result.string("stdout_base64", stdoutBase64)
            result.bool("stdin_written", stdinWritten)
            result.object("usage") { usage.write(to: &$0) }
            result.object("evidence") { evidence.write(to: &$0) }
            result.object("spawn") { spawn.write(to: &$0) }
            result.object("receipt") { receipt.write(to: &$0) }
            result.array("files") { list in
                for file in files { list.object { file.write(to: &$0) } }
            }
            more(&result)
        }
    }
}

extension RunResult.Usage {
    package func write(to writer: inout JSONWriter) {
        writer.number("wall_seconds", wallSeconds)
        writer.number("cpu_seconds", cpuSeconds)
        writer.integer("peak_memory_bytes", peakMemoryBytes)
        writer.integer("peak_pids", peakPids)
    }
}

extension RunResult.Evidence {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.string("limit", limit)
        writer.string("observed", observed)
        writer.array("violations") { list in
            for violation in violations {
                list.object { entry in
                    entry.string("syscall", violation.syscall)
                    entry.integer("count", violation.count)
                }
            }
        }
    }
}

extension RunResult.Spawn {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.string("zygote", zygote)
        writer.integer("generation", generation)
        writer.bool("nursery_hit", nurseryHit)
        writer.number("spawn_seconds", spawnSeconds)
        writer.integer("pid", pid)
        writer.string("id", id)
    }
}

extension RunResult.File {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.string("path", path)
        writer.string("destination", destination)
        writer.integer("bytes", bytes)
        writer.string("error", error)
    }
}

extension Receipt {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.array("active") { list in
            for layer in active.layers { list.string(nil, layer.name) }
        }
        writer.array("missing") { list in
            for entry in missing {
                list.object { object in
                    object.string("layer", entry.layer.name)
                    object.string("why", entry.why)
                }
            }
        }
    }
}
