import Foundation
import Glibc
import HatcherySystem
import Testing

@testable import HatcheryDaemon

/// Groups of sandboxes that are watched together, over a directory that stands for a cgroup.
@Suite final class CgroupGroupTests {
    private let place = "/tmp/hatchery-group-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    private let loop: EventLoop
    private let group: CgroupGroup

    init() throws {
        try FileManager.default.createDirectory(atPath: place + "/group7", withIntermediateDirectories: true)
        loop = try EventLoop()
        group = CgroupGroup("group7", in: try CgroupDirectory(path: place), loop: loop)
    }

    deinit { try? FileManager.default.removeItem(atPath: place) }

    private func use(_ microseconds: Int) throws {
        try Data("usage_usec \(microseconds)\nuser_usec 0\n".utf8).write(to: URL(fileURLWithPath: place + "/group7/cpu.stat"), options: .atomic)
    }

    @Test func whoWaitsIsCalledOnceSomethingRanAndNotBefore() throws {
        try use(5)
        var calls = 0
        var ticksOfRest = 0
        func wait() {
            group.whenSomethingRan { [self] in
                calls += 1
                // The first call comes at the first tick: what ran before that is not known.
                if calls == 1 {
                    wait()
                    rest()
                } else {
                    loop.stop()
                }
            }
        }
        func rest() {
            loop.after(nanoseconds: ResourceWatch.longestIntervalNanoseconds) { [self] in
                ticksOfRest += 1
                if ticksOfRest < 5 { return rest() }
                #expect(calls == 1, "nothing ran")
                try? use(6)
            }
        }
        wait()
        loop.after(nanoseconds: 60_000_000_000) { [loop] in loop.stop() }
        try loop.run()
        #expect(calls == 2 && ticksOfRest == 5)
    }

    @Test func allWhoWaitAreCalled() throws {
        try use(5)
        var called: Set<Int> = []
        for number in 0..<3 {
            group.whenSomethingRan { [loop] in
                called.insert(number)
                if called.count == 3 { loop.stop() }
            }
        }
        loop.after(nanoseconds: 60_000_000_000) { [loop] in loop.stop() }
        try loop.run()
        #expect(called == [0, 1, 2])
    }

    /// It may be gone, or there may be no descriptor to read it with: then they look for themselves.
    @Test func whatCannotBeReadCountsAsSomethingThatRan() throws {
        var calls = 0
        func wait() {
            group.whenSomethingRan { [loop] in
                calls += 1
                if calls == 3 { loop.stop() } else { wait() }
            }
        }
        wait()
        loop.after(nanoseconds: 60_000_000_000) { [loop] in loop.stop() }
        try loop.run()
        #expect(calls == 3)
    }

    @Test func spareDescriptorsAreAShareOfAllAndComeBack() {
        let spare = SpareDescriptors(most: 3)
        #expect(spare.take(2))
        #expect(!spare.take(2) && spare.take(1) && !spare.take(1))
        spare.give(back: 2)
        #expect(spare.take(2))
    }
}
