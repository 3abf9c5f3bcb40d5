import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery zygotes`: exit status 1 where one has failed.
struct ZygotesCommand: Verb {
    static let configuration = CommandConfiguration(
        commandName: "zygotes", abstract: "List the zygotes; exit status 1 where one has failed.")

    @OptionGroup var daemon: DaemonFlags
    @Flag(help: "A JSON array instead of a table.") var json = false

    func perform() -> Int32 {
        OneQuestion.ask(daemon, .zygotes, { $0.zygotes() }) { zygotes in
            Console.output(json ? ZygotesCommand.json(zygotes) : ZygotesCommand.table(zygotes))
            return zygotes.contains { $0.state == .failed } ? 1 : 0
        }
    }

    static func table(_ zygotes: [ZygoteListing]) -> String {
        let table = Table.text(
            header: ["NAME", "KIND", "STATE", "GENERATION", "PID", "SPAWNED", "PARKED", "HITS", "MISSES", "FROZEN"],
            rightAligned: [3, 4, 5, 6, 7, 8, 9],
            rows: zygotes.map {
                [
                    $0.name, $0.kind, $0.state.name, "\($0.generation)", "\($0.pid)", "\($0.spawned)", "\($0.parked)",
                    "\($0.nurseryHits)", "\($0.nurseryMisses)", $0.heap.bytes > 0 ? "\($0.heap.bytes >> 20)M" : "-",
                ]
            })
        let messages = zygotes.filter { !$0.message.isEmpty }.map { zygote in
            let lines = zygote.message.split(separator: "\n", omittingEmptySubsequences: false)
            return "\n\(zygote.name): \(zygote.state.name)\n" + lines.map { "  \($0)\n" }.joined()
        }
        let handlers = zygotes.filter { !$0.handlers.isEmpty }.map {
            "\n\($0.name): handlers \($0.handlers.joined(separator: ", "))\n"
        }
        let findings = zygotes.flatMap { zygote in zygote.findings.map { "\n\(zygote.name): \($0)\n" } }
        return table + messages.joined() + handlers.joined() + findings.joined()
    }

    static func json(_ zygotes: [ZygoteListing]) -> String {
        var writer = JSONWriter()
        writer.array { list in for zygote in zygotes { write(zygote, to: &list) } }
        return writer.text + "\n"
    }

    static func write(_ zygote: ZygoteListing, to writer: inout JSONWriter) {
        writer.object { object in
            object.string("name", zygote.name)
            object.string("kind", zygote.kind)
            object.string("state", zygote.state.name)
            object.integer("generation", zygote.generation)
            object.integer("pid", zygote.pid)
            object.integer("spawned", zygote.spawned)
            object.integer("parked", zygote.parked)
            object.integer("hits", zygote.nurseryHits)
            object.integer("misses", zygote.nurseryMisses)
            object.integer("frozen_bytes", zygote.heap.bytes)
            object.integer("frozen_mappings", zygote.heap.mappings)
            object.integer("page_table_bytes", zygote.pageTableBytes)
            object.integer("anonymous_bytes", zygote.anonymousBytes)
            object.string("freeze_note", zygote.heap.note.isEmpty ? nil : zygote.heap.note)
            object.array("handlers") { list in for handler in zygote.handlers { list.string(nil, handler) } }
            object.array("findings") { list in for finding in zygote.findings { list.string(nil, finding) } }
            object.string("message", zygote.message.isEmpty ? nil : zygote.message)
        }
    }
}
