import HatcherySystem
import Synchronization

/// Descriptors on their way from one owner to the next, where the way leads through closures. What nobody takes is closed.
package final class OwnedDescriptors: Sendable {
    private let raws: Mutex<[Int32]>

    package init(_ batch: consuming DescriptorBatch = DescriptorBatch()) {
        var batch = batch
        raws = Mutex((0..<batch.count).map { batch.take($0).release() })
    }

    deinit { closeAll() }

    /// Closes what nobody took.
    package func closeAll() {
        let left = raws.withLock { raws in
            defer { raws = raws.map { _ in -1 } }
            return raws
        }
        for raw in left where raw >= 0 { _ = Descriptor(owning: raw) }
    }

    package var count: Int { raws.withLock { $0.count } }

    package func append(_ descriptor: consuming Descriptor) {
        let raw = descriptor.release()
        raws.withLock { $0.append(raw) }
    }

    /// The numbers, still owned here.
    package var borrowed: [Int32] { raws.withLock { $0 } }

    /// Moves one descriptor out; nil where there is none at `index`, or where it was taken.
    package func take(_ index: Int) -> Descriptor? {
        let raw = raws.withLock { raws -> Int32 in
            guard raws.indices.contains(index) else { return -1 }
            let raw = raws[index]
            raws[index] = -1
            return raw
        }
        return raw < 0 ? nil : Descriptor(owning: raw)
    }
}
