"""What a process has open, in words that lead to whoever forgot to close it."""

import collections
import contextlib
import os
import re
from pathlib import Path


def kinds(pid):
    """{kind: count} of everything that a process has open. Two descriptors of one kind do the same thing, in any daemon."""
    names = sockets(pid)
    return collections.Counter(kind(pid, number, link, names) for number, link in links(pid))


def told(pid, wanted):
    """Each descriptor of the wanted kinds on a line of its own: its number, its flags, and of a pipe who else has an end. One that
    nobody else has is one that somebody forgot."""
    names, holders = sockets(pid), collections.defaultdict(list)
    for entry in filter(str.isdigit, os.listdir("/proc")):
        for number, link in links(entry):
            if link.startswith("pipe:"):
                holders[link].append((entry, number))
    lines = []
    for number, link in links(pid):
        if kind(pid, number, link, names) in wanted:
            own = (str(pid), number)
            line = f"descriptor {number}: {link} ({' '.join(facts(pid, number).split())})"
            others = [f"{other} of {command(entry)} {entry}" for entry, other in holders[link] if (entry, other) != own]
            lines.append(line + f", also held as {', '.join(others) or 'nothing else'}" * link.startswith("pipe:"))
    return lines


def links(pid):
    """(number, what it leads to) of each descriptor, in the order of the numbers."""
    found = []
    with contextlib.suppress(OSError):  # A process that has ended has nothing open.
        for number in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
            with contextlib.suppress(OSError):  # Closed in between.
                found.append((number, os.readlink(f"/proc/{pid}/fd/{number}")))
    return found


def sockets(pid):
    """{inode: path} of sockets in the file system. A connection that was accepted there bears its listener's path."""
    lines = Path(f"/proc/{pid}/net/unix").read_text().split("\n")[1:]
    return {fields[6]: fields[7] for fields in map(str.split, lines) if len(fields) > 7}


def kind(pid, number, link, names):
    """The link without what differs from one daemon to the next: inodes, process ids, the folder of this soak."""
    name, _, inode = link.partition(":[")
    if name == "socket":
        path = names.get(inode.rstrip("]"))
        return f"socket of {os.path.basename(path)}" if path else "socket"
    if name == "pipe":
        # The access mode in octal is the last digit of the flags (proc_pid_fdinfo(5)).
        flags = re.search(r"flags:\s*(\d+)", facts(pid, number))
        return "pipe, write end" if flags and flags[1].endswith("1") else "pipe, read end"
    if inode.rstrip("]").isdigit():
        return name  # A pidfd, on kernels that give each an inode.
    return re.sub(r"hatchery-\d+-[0-9a-f]+|soak-[a-z_0-9-]+", "N", link)


def facts(pid, number):
    try:
        return Path(f"/proc/{pid}/fdinfo/{number}").read_text()
    except OSError:
        return ""


def command(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
