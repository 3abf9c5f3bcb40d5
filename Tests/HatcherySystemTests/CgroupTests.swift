import HatcherySystem
import Testing

@Suite struct CgroupHierarchyTests {
    private let hybrid = """
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
        """

    @Test func theMountIsFoundByItsType() {
        #expect(CgroupHierarchy.mount(mountinfo: hybrid) == .init(root: "/", place: "/sys/fs/cgroup/unified"))
        let nested = "30 1 0:26 /docker/a /odd\\040place ro,nosuid shared:4 master:1 - cgroup2 cgroup rw,nsdelegate\n"
        #expect(CgroupHierarchy.mount(mountinfo: nested) == .init(root: "/docker/a", place: "/odd place"))
        #expect(CgroupHierarchy.mount(mountinfo: "23 1 0:1 / / rw - ext4 /dev/vda rw\nshort\n") == nil)
    }

    @Test func theOwnCgroupIsThatOfHierarchyZero() {
        #expect(CgroupHierarchy.ownPath(cgroup: "4:memory:/a\n0::/b/c\n") == "/b/c")
        #expect(CgroupHierarchy.ownPath(cgroup: "4:memory:/a\n") == nil)
    }

    @Test(arguments: [
        ("/", "/", "/cg"), ("/", "/a/b", "/cg/a/b"), ("/docker/x", "/docker/x", "/cg"), ("/docker/x", "/docker/x/y", "/cg/y"),
    ])
    func aPathIsLookedForBelowTheMountsRoot(_ root: String, _ path: String, _ directory: String) {
        #expect(CgroupHierarchy.directory(of: path, in: .init(root: root, place: "/cg")) == directory)
    }

    @Test(arguments: [("/docker/x", "/docker/xy"), ("/docker/x", "/"), ("/", "/../outside")])
    func aCgroupThatTheMountDoesNotShowHasNoDirectory(_ root: String, _ path: String) {
        #expect(CgroupHierarchy.directory(of: path, in: .init(root: root, place: "/cg")) == nil)
    }

    @Test func numbersAreReadByName() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n"
        #expect(CgroupDirectory.number(events, "oom") == 3)
        #expect(CgroupDirectory.number(events, "oom_kill") == 2)
        #expect(CgroupDirectory.number(events, "oom_group_kill") == nil)
        #expect(CgroupDirectory.number("4096\n") == 4096)
        #expect(CgroupDirectory.number("max\n") == nil)
    }
}
