extension SeccompNames {
    /// The kernel's own numbers, the same on x86-64 and aarch64. They are written out because the headers of a build
    /// machine are older than the kernels that we run on, and because most are macros that Swift does not import. The
    /// test constantsAreTheKernels compares those that it can.
    static let constants: [String: UInt64] = [
        // clone(2). CLONE_NEWTIME is missing: in clone its bit belongs to the exit signal.
        "CLONE_NEWNS": 0x0002_0000,
        "CLONE_NEWCGROUP": 0x0200_0000,
        "CLONE_NEWUTS": 0x0400_0000,
        "CLONE_NEWIPC": 0x0800_0000,
        "CLONE_NEWUSER": 0x1000_0000,
        "CLONE_NEWPID": 0x2000_0000,
        "CLONE_NEWNET": 0x4000_0000,

        // socket(2). The kernel takes the low four bits of the type; the rest are flags.
        "AF_UNIX": 1,
        "AF_INET": 2,
        "AF_INET6": 10,
        "AF_NETLINK": 16,
        "SOCK_TYPE_MASK": 0xf,
        "SOCK_STREAM": 1,
        "SOCK_DGRAM": 2,
        "SOCK_RAW": 3,
        "SOCK_SEQPACKET": 5,
        "IPPROTO_IP": 0,
        "IPPROTO_ICMP": 1,
        "IPPROTO_TCP": 6,
        "IPPROTO_UDP": 17,
        "IPPROTO_ICMPV6": 58,
        "IPPROTO_MPTCP": 262,
        "MSG_OOB": 1,

        // setsockopt(2)
        "SOL_IP": 0,
        "SOL_SOCKET": 1,
        "SOL_IPV6": 41,
        "IPT_SO_SET_REPLACE": 64,
        "IPT_SO_SET_ADD_COUNTERS": 65,
        "SO_ATTACH_FILTER": 26,
        "SO_ATTACH_BPF": 50,
        "SO_ATTACH_REUSEPORT_CBPF": 51,
        "SO_ATTACH_REUSEPORT_EBPF": 52,
        "TCP_ULP": 31,
        "UDP_ENCAP": 100,

        // fcntl(2)
        "F_SETLEASE": 1024,
        "F_NOTIFY": 1026,
        "F_SETDELEG": 1040,

        // signal(7)
        "SIGSYS": 31,

        // ioctl(2)
        "SECCOMP_IOCTL_NOTIF_RECV": 0xc050_2100,
        "SECCOMP_IOCTL_NOTIF_SEND": 0xc018_2101,
        "TIOCSCTTY": 0x540E,
        "TIOCSTI": 0x5412,
        "TIOCLINUX": 0x541C,
        "TIOCCONS": 0x541D,
        "TIOCSETD": 0x5423,

        // Files and memory
        "S_IFMT": 0o170000,
        "S_IFCHR": 0o020000,
        "S_IFBLK": 0o060000,
        "S_ISUID": 0o4000,
        "S_ISGID": 0o2000,
        "PROT_EXEC": 4,
        "MADV_MERGEABLE": 12,

        // personality(2)
        "PER_LINUX": 0,
        "PER_QUERY": 0xffff_ffff,
        "ADDR_NO_RANDOMIZE": 0x0004_0000,

        // prctl(2)
        "PR_SET_PDEATHSIG": 1,
        "PR_GET_PDEATHSIG": 2,
        "PR_GET_DUMPABLE": 3,
        "PR_SET_DUMPABLE": 4,
        "PR_GET_KEEPCAPS": 7,
        "PR_SET_KEEPCAPS": 8,
        "PR_SET_NAME": 15,
        "PR_GET_NAME": 16,
        "PR_GET_SECCOMP": 21,
        "PR_SET_SECCOMP": 22,
        "PR_CAPBSET_READ": 23,
        "PR_CAPBSET_DROP": 24,
        "PR_GET_TSC": 25,
        "PR_GET_SECUREBITS": 27,
        "PR_SET_SECUREBITS": 28,
        "PR_SET_TIMERSLACK": 29,
        "PR_GET_TIMERSLACK": 30,
        "PR_MCE_KILL_GET": 34,
        "PR_SET_MM": 35,
        "PR_SET_CHILD_SUBREAPER": 36,
        "PR_GET_CHILD_SUBREAPER": 37,
        "PR_SET_NO_NEW_PRIVS": 38,
        "PR_GET_NO_NEW_PRIVS": 39,
        "PR_GET_TID_ADDRESS": 40,
        "PR_SET_THP_DISABLE": 41,
        "PR_GET_THP_DISABLE": 42,
        "PR_CAP_AMBIENT": 47,
        "PR_CAP_AMBIENT_IS_SET": 1,
        "PR_CAP_AMBIENT_CLEAR_ALL": 4,
        "PR_SVE_SET_VL": 50,
        "PR_SVE_GET_VL": 51,
        "PR_GET_SPECULATION_CTRL": 52,
        "PR_SET_SPECULATION_CTRL": 53,
        "PR_PAC_RESET_KEYS": 54,
        "PR_SET_TAGGED_ADDR_CTRL": 55,
        "PR_GET_TAGGED_ADDR_CTRL": 56,
        "PR_PAC_SET_ENABLED_KEYS": 60,
        "PR_PAC_GET_ENABLED_KEYS": 61,
        "PR_SME_SET_VL": 63,
        "PR_SME_GET_VL": 64,
        "PR_SET_MDWE": 65,
        "PR_GET_MDWE": 66,
        "PR_SET_PTRACER": 0x5961_6d61,
        "PR_SET_VMA": 0x5356_4d41,
        "PR_GET_AUXV": 0x4155_5856,
    ]
}
