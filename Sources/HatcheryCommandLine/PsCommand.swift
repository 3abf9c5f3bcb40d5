import ArgumentParser
import Hatchery
import HatcheryProtocol

/// `hatchery ps`
struct PsCommand: Verb {
    static let configuration = CommandConfiguration(commandName: "ps", abstract: "List the living sandboxes.")

    @OptionGroup var daemon: DaemonFlags
    @Flag(help: "A JSON array instead of a table.") var json = false

    func perform() -> Int32 {
        OneQuestion.ask(daemon, .list, { $0.sandboxes() }) { sandboxes in
            Console.output(json ? PsCommand.json(sandboxes) : PsCommand.table(sandboxes))
            return 0
        }
    }

    static func table(_ sandboxes: [SandboxListing]) -> String {
        Table.text(
            header: ["ID", "PID", "ZYGOTE", "PROFILE", "UID", "AGE", "TITLE"], rightAligned: [1, 4, 5],
            rows: sandboxes.map {
                [
                    $0.id, "\($0.pid)", $0.zygote, $0.profile, "\($0.ownerUID)", Table.seconds($0.ageNanoseconds),
                    $0.title,
                ]
            })
    }

    static func json(_ sandboxes: [SandboxListing]) -> String {
        var writer = JSONWriter()
        writer.array { list in for sandbox in sandboxes { write(sandbox, to: &list) } }
        return writer.text + "\n"
    }

    static func write(_ sandbox: SandboxListing, to writer: inout JSONWriter) {
        writer.object { object in
            object.string("id", sandbox.id)
            object.integer("pid", sandbox.pid)
            object.string("zygote", sandbox.zygote)
            object.string("profile", sandbox.profile)
            object.string("title", sandbox.title)
            object.integer("uid", sandbox.ownerUID)
            object.number("age_seconds", Double(sandbox.ageNanoseconds) / 1e9)
        }
    }
}
