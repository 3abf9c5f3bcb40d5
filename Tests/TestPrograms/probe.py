"""Tells what a sandboxed process sees, as one JSON object on stdout. Run inside; standard library only.

Each name on the command line is one section of the report. A section never fails: what the system refuses is reported as
the name of the errno.
"""
import ctypes, errno, fcntl, json, os, socket, stat, struct, sys

libc = ctypes.CDLL(None, use_errno=True)


def attempt(action):
    """The value of an action, or the name of its errno."""
    try:
        value = action()
        return "done" if value is None else value
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def call(number, *arguments):
    """A raw system call: its result, or the name of its errno."""
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return result if result >= 0 else errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))


def status():
    fields = {}
    with open("/proc/self/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def ids():
    return {"uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "pid": os.getpid(),
            "ppid": os.getppid(), "sid": os.getsid(0), "pgrp": os.getpgrp(),
            "setuid_0": attempt(lambda: os.setuid(0)), "setgid_0": attempt(lambda: os.setgid(0)),
            "setgroups": attempt(lambda: os.setgroups([0]))}


def capabilities():
    fields = status()
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    return {"sets": {name: fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
            "last": last, "in_bounding_set": [c for c in range(last + 1) if libc.prctl(23, c, 0, 0, 0) != 0],
            "securebits": libc.prctl(27, 0, 0, 0, 0), "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
            "seccomp": fields["Seccomp"], "filters": fields.get("Seccomp_filters"),
            "raise_ambient": libc.prctl(47, 2, 0, 0, 0)}


def maps():
    def write(name, text):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    return {"uid_map": open("/proc/self/uid_map").read().split(), "gid_map": open("/proc/self/gid_map").read().split(),
            "setgroups": open("/proc/self/setgroups").read().strip(),
            "write_uid_map": attempt(lambda: write("uid_map", "0 0 1")),
            "write_gid_map": attempt(lambda: write("gid_map", "0 0 1")),
            "write_setgroups": attempt(lambda: write("setgroups", "allow"))}


def descriptors():
    """By trying every number to the limit: /proc/self/fd would need one more to be listed."""
    import resource
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = []
    for number in range(max(soft, 70000)):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
        except OSError:
            pass
    return found


def environment():
    others = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            others[name] = attempt(lambda: open(f"/proc/{name}/environ", "rb").read().decode(errors="replace"))
    return {"own": dict(os.environ), "proc": others}


def namespaces():
    return {name: os.readlink("/proc/self/ns/" + name) for name in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")}


def network():
    def connect(family, address):
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(3)
            s.connect(address)
    with open("/proc/net/dev") as file:
        interfaces = [line.split(":")[0].strip() for line in file.read().splitlines()[2:]]
    return {"interfaces": interfaces, "outside": attempt(lambda: connect(socket.AF_INET, ("1.1.1.1", 53))),
            "outside6": attempt(lambda: connect(socket.AF_INET6, ("2606:4700:4700::1111", 53))),
            "loopback": attempt(lambda: connect(socket.AF_INET, ("127.0.0.1", 1)))}


def root():
    def up():
        os.chdir("/" + "../" * 50)
        return sorted(os.listdir("."))
    report = {"cwd": os.getcwd(), "root": sorted(os.listdir("/")), "above": attempt(up),
              "proc_1_root": attempt(lambda: os.listdir("/proc/1/root")), "sys": attempt(lambda: os.listdir("/sys")),
              "pids": sorted(int(n) for n in os.listdir("/proc") if n.isdigit()),
              "mounts": [line.split()[4] for line in open("/proc/self/mountinfo")]}
    return report


def readable():
    """Whether the paths after `readable` on the command line can be opened."""
    return {path: attempt(lambda: len(open(path, "rb").read(1))) for path in sys.argv[sys.argv.index("readable") + 1:]}


def hostname():
    return {"name": socket.gethostname(), "set": attempt(lambda: socket.sethostname("evil"))}


def limits():
    import resource
    return {name: resource.getrlimit(getattr(resource, name)) for name in
            ("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_CPU")}


def inherited():
    """State that clone and execve hand on."""
    mask = os.umask(0)
    os.umask(mask)
    fields = status()
    return {"umask": mask, "nice": os.nice(0), "blocked": fields["SigBlk"], "ignored": fields["SigIgn"],
            "tty": attempt(lambda: os.open("/dev/tty", os.O_RDWR)), "dumpable": libc.prctl(3, 0, 0, 0, 0)}


def main():
    report = {}
    for name in sys.argv[1:]:
        if name in globals():
            report[name] = globals()[name]()
    json.dump(report, sys.stdout)
    print()


main()
