import CHatchery
import Glibc
import Testing

@testable import HatcherySystem

@Suite(.serialized) struct DescriptorTests {
    /// Before the counter says that nothing leaks it must be able to see a leak.
    @Test func theCounterSeesALeak() throws {
        let marker = Marker()
        #expect(try marker.count() == 0)
        let raw = try marker.make().release()
        #expect(try marker.count() == 1)
        #expect(try marker.numbers() == [raw])
        Descriptor.close(raw)
        #expect(try marker.count() == 0)
    }

    @Test func aDescriptorClosesWithItsScope() throws {
        let marker = Marker()
        do {
            let descriptor = try marker.make()
            #expect(try marker.numbers() == [descriptor.raw])
        }
        #expect(try marker.count() == 0)
    }

    @Test func whatIsReleasedStaysOpen() throws {
        let marker = Marker()
        let raw: Int32
        do { raw = try marker.make().release() }
        #expect(try marker.numbers() == [raw])
        do { _ = Descriptor(owning: raw) }
        #expect(try marker.count() == 0)
    }

    @Test func aDuplicateLivesByItself() throws {
        let marker = Marker()
        do {
            let copy: Descriptor
            do {
                let original = try marker.make()
                copy = try original.duplicate()
                #expect(try marker.count() == 2)
            }
            #expect(try marker.numbers() == [copy.raw])
            #expect(hatchery_fcntl(copy.raw, F_GETFD, 0) & FD_CLOEXEC != 0)
            #expect(copy.raw > 2)
        }
        #expect(try marker.count() == 0)
    }

    @Test func closingTwiceTraps() async {
        await #expect(processExitsWith: .failure) {
            let raw = try Marker().make().release()
            Descriptor.close(raw)
            Descriptor.close(raw)
        }
        // The twin: closing once does not.
        await #expect(processExitsWith: .success) {
            Descriptor.close(try Marker().make().release())
        }
    }

    @Test func aBatchClosesWhatNobodyTakes() throws {
        let marker = Marker()
        do {
            let taken: Descriptor
            do {
                var raws: [Int32] = []
                for _ in 0..<3 { raws.append(try marker.make().release()) }
                var batch = DescriptorBatch(owning: raws)
                taken = batch.take(1)
                #expect(batch.count == 3)
                #expect(batch.raw(0) == raws[0] && batch.raw(1) == -1)
                #expect(taken.raw == raws[1])
                #expect(try marker.count() == 3)
            }
            #expect(try marker.numbers() == [taken.raw])
        }
        #expect(try marker.count() == 0)
    }

    @Test func takingTwiceTraps() async {
        await #expect(processExitsWith: .failure) {
            var batch = DescriptorBatch(owning: [try Marker().make().release()])
            _ = batch.take(0)
            _ = batch.take(0)
        }
    }

    @Test func pipesAreCloseOnExecAndBlockUntilToldOtherwise() throws {
        let pipe = try Pipe()
        for raw in [pipe.readEnd.raw, pipe.writeEnd.raw] { #expect(hatchery_fcntl(raw, F_GETFD, 0) & FD_CLOEXEC != 0) }
        #expect(hatchery_fcntl(pipe.readEnd.raw, F_GETFL, 0) & O_NONBLOCK == 0)
        try pipe.readEnd.setNonblocking()
        #expect(hatchery_fcntl(pipe.readEnd.raw, F_GETFL, 0) & O_NONBLOCK != 0)
        try pipe.readEnd.setNonblocking(false)
        #expect(hatchery_fcntl(pipe.readEnd.raw, F_GETFL, 0) & O_NONBLOCK == 0)
    }
}
