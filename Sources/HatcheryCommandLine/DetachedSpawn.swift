import Hatchery
import HatcheryProtocol

/// `--detach`: hatches, prints the id, and leaves.
enum DetachedSpawn {
    static func perform(_ prepared: PreparedSpawn, _ connection: Connection) throws(HatcheryError) -> Int32 {
        let answer = Slot<Result<Spawned, HatcheryError>>()
        prepared.send(on: connection) { if answer.value == nil { answer.value = $0 } }
        while answer.value == nil { connection.reactor.turn() }
        Console.output(try answer.value!.get().id + "\n")
        return 0
    }
}
