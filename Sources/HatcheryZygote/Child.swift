import CHatchery
import Glibc
import HatcheryProtocol
import HatcherySystem

/// What the two processes of a sandbox carry while they are still our code: the init and, after the fork, the payload.
struct Child {
    /// The child's own connection to the front.
    var control: Int32
    /// The write end of the status pipe: one record, `ready` or the step that failed.
    var status: Int32
    var runtime: PayloadRuntime
    var setup = SetupOrder()
    /// Descriptors that came with the set-up order.
    var setupDescriptors: [Int32] = []
    var payloadFilter: [UInt8] = []
    var initFilter: [UInt8] = []
    /// In builds for tests: the root of the zygote's preload, for a child whose own root a test leaves out.
    var preloadRoot: Int32 = -1
    /// The new root, while it is built.
    var root: Int32 = -1
    /// The scratch directory, open for the front to fetch files from.
    var scratch: Int32 = -1
    /// The terminal, where one is wanted: the client's end until the front has it, and the payload's.
    var terminal: (client: Int32, payload: Int32) = (-1, -1)
    /// The payload's end of a connection with the init: the listener of its filter goes there, and the init closes its own end
    /// when it is sealed.
    var gate: Int32 = -1
    /// The init's end of it; the payload's copy is closed first of all.
    var gateOfInit: Int32 = -1
    /// The layers that were really put up, for the receipt.
    var active: LayerSet = []

    /// SECURITY: nothing of the set-up is open any more when names of a request are looked at: the root before the pivot, the
    /// trees and the scratch directory lie outside of what the program may name (CVE-2024-21626).
    mutating func closeSetupDescriptors() {
        for raw in setupDescriptors + [root, preloadRoot] where raw >= 0 { close(raw) }
        setupDescriptors = []
        (root, preloadRoot) = (-1, -1)
    }

    /// Takes one step: a failure is reported with the step's number and ends the process.
    mutating func step(_ step: Step, _ body: (inout Child) throws(SystemError) -> Void) {
        #if HATCHERY_TESTING
            if setup.failAt == step { fail(step, EIO) }
        #endif
        do throws(SystemError) {
            try body(&self)
        } catch {
            fail(step, error.errno)
        }
    }

    /// Takes a step that puts up a layer, and notes it for the receipt.
    mutating func step(_ step: Step, layer: Layer, _ body: (inout Child) throws(SystemError) -> Void) {
        if isLeftOut(layer) { return }
        self.step(step, body)
        active.insert(layer)
    }

    /// Whether the payload's refused calls are told to the init.
    var countsRefusals: Bool { setup.countsRefusals && !isLeftOut(.seccomp) }

    /// Whether a test asked for a sandbox without this layer. A release build cannot: the front refuses, and this is false.
    func isLeftOut(_ layer: Layer) -> Bool {
        #if HATCHERY_TESTING
            return setup.without.contains(layer)
        #else
            return false
        #endif
    }

    /// Reports a failed step and ends this process. As the init it takes the whole sandbox with it.
    func fail(_ step: Step, _ errno: Int32, exitCode: Int32 = 255) -> Never {
        write(StatusRecord(step: step, errno: errno, layers: active))
        _exit(exitCode)
    }

    func write(_ record: StatusRecord) {
        withUnsafeTemporaryAllocation(byteCount: StatusRecord.size, alignment: 4) { buffer in
            record.write(into: buffer)
            _ = Glibc.write(status, buffer.baseAddress, StatusRecord.size)
        }
    }

    /// Reads one order with its descriptors from the front. End of file means that the spawn was given up: end quietly.
    func receiveOrder(_ step: Step) -> (bytes: [UInt8], descriptors: [Int32]) {
        do throws(SystemError) {
            guard
                var message = try MessageSocket.receive(
                    control, capacity: WireLimits.frameBytes, descriptorRoom: WireLimits.descriptors)
            else { fail(step, EAGAIN) }
            if message.isEndOfStream { _exit(0) }
            if message.truncated { fail(step, EMSGSIZE) }
            var descriptors: [Int32] = []
            for index in 0..<message.descriptors.count {
                // They stay open until the payload closes everything (step 34); the numbers 0 to 2 are taken already.
                descriptors.append(message.descriptors.take(index).release())
            }
            return (message.bytes, descriptors)
        } catch {
            fail(step, error.errno)
        }
    }
}
