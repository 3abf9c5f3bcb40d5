#ifndef HATCHERY_SYSCALLS_H
#define HATCHERY_SYSCALLS_H

// Thin wrappers, one for each system call or variadic function. Debian 12's glibc has most of the mount calls, Ubuntu's
// older ones do not, so they are made by number; the numbers of calls since Linux 5.x are the same on every architecture.

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/ioctl.h>

#define HATCHERY_NEGATIVE_ERRNO(call)          \
  do {                                         \
    long hatchery_result = (call);             \
    return hatchery_result < 0 ? -errno : (int)hatchery_result; \
  } while (0)

#define HATCHERY_SYS_open_tree 428
#define HATCHERY_SYS_move_mount 429
#define HATCHERY_SYS_fsopen 430
#define HATCHERY_SYS_fsconfig 431
#define HATCHERY_SYS_fsmount 432
#define HATCHERY_SYS_pidfd_open 434
#define HATCHERY_SYS_clone3 435
#define HATCHERY_SYS_close_range 436
#define HATCHERY_SYS_openat2 437
#define HATCHERY_SYS_mount_setattr 442
#define HATCHERY_SYS_pidfd_send_signal 424

#define HATCHERY_OPEN_TREE_CLONE 1
#define HATCHERY_AT_RECURSIVE 0x8000
#define HATCHERY_MOVE_MOUNT_F_EMPTY_PATH 0x4
#define HATCHERY_MOVE_MOUNT_T_EMPTY_PATH 0x40

#define HATCHERY_MOUNT_ATTR_RDONLY 0x1
#define HATCHERY_MOUNT_ATTR_NOSUID 0x2
#define HATCHERY_MOUNT_ATTR_NODEV 0x4
#define HATCHERY_MOUNT_ATTR_NOEXEC 0x8
#define HATCHERY_MOUNT_ATTR_IDMAP 0x100000

#define HATCHERY_RESOLVE_NO_XDEV 0x01
#define HATCHERY_RESOLVE_NO_MAGICLINKS 0x02
#define HATCHERY_RESOLVE_NO_SYMLINKS 0x04
#define HATCHERY_RESOLVE_BENEATH 0x08
#define HATCHERY_RESOLVE_IN_ROOT 0x10

#define HATCHERY_FSCONFIG_SET_FLAG 0
#define HATCHERY_FSCONFIG_SET_STRING 1
#define HATCHERY_FSCONFIG_CMD_CREATE 6

struct hatchery_mount_attr {
  uint64_t attr_set;
  uint64_t attr_clr;
  uint64_t propagation;
  uint64_t userns_fd;
};

struct hatchery_open_how {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
};

static inline int hatchery_open_tree(int dir, const char *path, unsigned flags) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_open_tree, dir, path, flags));
}
static inline int hatchery_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_move_mount, from, from_path, to, to_path, flags));
}
static inline int hatchery_fsopen(const char *name) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_fsopen, name, 1 /* FSOPEN_CLOEXEC */));
}
static inline int hatchery_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_fsconfig, fd, command, key, value, aux));
}
static inline int hatchery_fsmount(int fd, unsigned attributes) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_fsmount, fd, 1 /* FSMOUNT_CLOEXEC */, attributes));
}
static inline int hatchery_mount_setattr(int dir, const char *path, unsigned flags,
                                         const struct hatchery_mount_attr *attributes) {
  HATCHERY_NEGATIVE_ERRNO(
      syscall(HATCHERY_SYS_mount_setattr, dir, path, flags, attributes, sizeof *attributes));
}
static inline int hatchery_openat2(int dir, const char *path, const struct hatchery_open_how *how) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_openat2, dir, path, how, sizeof *how));
}
static inline int hatchery_close_range(unsigned first, unsigned last, unsigned flags) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_close_range, first, last, flags));
}
static inline int hatchery_pidfd_open(int pid, unsigned flags) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_pidfd_open, pid, flags));
}
static inline int hatchery_pidfd_send_signal(int pidfd, int signal) {
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}
static inline int hatchery_pivot_root(const char *new_root, const char *put_old) {
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_pivot_root, new_root, put_old));
}
static inline int hatchery_mount(const char *source, const char *target, const char *type, unsigned long flags,
                                 const char *data) {
  HATCHERY_NEGATIVE_ERRNO(mount(source, target, type, flags, data));
}
static inline int hatchery_umount_detach(const char *target) {
  HATCHERY_NEGATIVE_ERRNO(umount2(target, 2 /* MNT_DETACH */));
}
/// Makes a directory the working directory and the root of this process: 0 or -errno.
static inline int hatchery_change_root(int directory) {
  if (fchdir(directory) != 0) return -errno;
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_chroot, "."));
}
static inline int hatchery_set_namespace(int fd, int kind) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_setns, fd, kind)); }
/// A descriptor of a process's mount (3) or network (4) namespace, of PIDFD_GET_MNT_NAMESPACE and its kin in linux/pidfd.h;
/// -ENOTTY before Linux 6.11.
static inline int hatchery_pidfd_namespace(int pidfd, int number) {
  HATCHERY_NEGATIVE_ERRNO(ioctl(pidfd, 0xFF00 | number, 0));
}
static inline int hatchery_unshare(int flags) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_unshare, flags)); }

// The libc wrappers of set*id signal every thread that libc knows of; the raw calls change this thread alone, which in a
// single-threaded zygote is the same, and they need no libc state that a raw clone left stale.
static inline int hatchery_setresuid(uid_t uid) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_setresuid, uid, uid, uid)); }
static inline int hatchery_setresgid(gid_t gid) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_setresgid, gid, gid, gid)); }
static inline int hatchery_clear_groups(void) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_setgroups, 0, NULL)); }
static inline int hatchery_group_count(void) { HATCHERY_NEGATIVE_ERRNO(syscall(SYS_getgroups, 0, NULL)); }

static inline int hatchery_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  HATCHERY_NEGATIVE_ERRNO(prctl(option, a, b, c, d));
}
static inline int hatchery_fcntl(int fd, int command, long argument) {
  HATCHERY_NEGATIVE_ERRNO(fcntl(fd, command, argument));
}
static inline int hatchery_open(const char *path, int flags, mode_t mode) {
  HATCHERY_NEGATIVE_ERRNO(open(path, flags, mode));
}
static inline int hatchery_openat(int dir, const char *path, int flags, mode_t mode) {
  HATCHERY_NEGATIVE_ERRNO(openat(dir, path, flags, mode));
}
static inline int hatchery_memfd_create(const char *name, unsigned flags) {
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_memfd_create, name, flags));
}
/// Loads a filter for this process; with SECCOMP_FILTER_FLAG_NEW_LISTENER among the flags it returns the listener.
static inline int hatchery_load_seccomp(const void *instructions, unsigned short count, unsigned flags) {
  struct {
    unsigned short length;
    const void *filter;
  } program = {count, instructions};
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

/// Empties the effective, permitted and inheritable sets of the calling thread.
static inline int hatchery_drop_all_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_capset, &header, data));
}

/// Makes capabilities of a mask below bit 32 inheritable, which the bounding set would keep from it later.
static inline int hatchery_add_inheritable_capabilities(uint32_t mask) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return -errno;
  data[0].inheritable |= mask;
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_capset, &header, data));
}

/// Keeps the capabilities of a mask below bit 32 in the permitted, effective, inheritable and ambient sets, and no others; those of
/// `permitted` in the permitted set alone.
static inline int hatchery_keep_capabilities(uint32_t mask, uint32_t permitted) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{mask, mask | permitted, mask}, {0, 0, 0}};
  if (syscall(SYS_capset, &header, data) != 0) return -errno;
  for (int capability = 0; capability < 32; capability++)
    if (mask & (1U << capability))
      if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) return -errno;
  return 0;
}

/// Makes every permitted capability effective again; after setresuid with PR_SET_KEEPCAPS they are permitted only.
static inline int hatchery_raise_permitted_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return -errno;
  for (int i = 0; i < 2; i++) data[i].effective = data[i].permitted;
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_capset, &header, data));
}

// Landlock (landlock(7)); the structures stand here because older distributions' headers lack the later fields.
struct hatchery_landlock_ruleset {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
struct hatchery_landlock_path_beneath {
  uint64_t allowed_access;
  int32_t parent_fd;
} __attribute__((packed));

static inline int hatchery_landlock_abi(void) {
  HATCHERY_NEGATIVE_ERRNO(syscall(444, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */));
}
static inline int hatchery_landlock_create(const struct hatchery_landlock_ruleset *ruleset, size_t size) {
  HATCHERY_NEGATIVE_ERRNO(syscall(444, ruleset, size, 0));
}
static inline int hatchery_landlock_allow(int ruleset, uint64_t access, int directory) {
  struct hatchery_landlock_path_beneath rule = {access, directory};
  HATCHERY_NEGATIVE_ERRNO(syscall(445, ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0));
}
static inline int hatchery_landlock_restrict(int ruleset) { HATCHERY_NEGATIVE_ERRNO(syscall(446, ruleset, 0)); }

// Status words of wait(2), which are macros.
static inline int hatchery_exit_code(int status) { return WEXITSTATUS(status); }
static inline int hatchery_signaled(int status) { return WIFSIGNALED(status); }
static inline int hatchery_term_signal(int status) { return WTERMSIG(status); }

static inline int hatchery_errno(void) { return errno; }
static inline int hatchery_close(int fd) { return close(fd) < 0 ? -errno : 0; }
static inline void *hatchery_map_failed(void) { return MAP_FAILED; }
static inline int hatchery_sigrtmin(void) { return SIGRTMIN; }
static inline int hatchery_sigrtmax(void) { return SIGRTMAX; }

// Constants that libc's headers declare for _GNU_SOURCE only, or as macros that Swift cannot import.
static const int hatchery_o_path = 010000000;
static const int hatchery_at_empty_path = 0x1000;
static const unsigned hatchery_mfd_flags = 0x3;  // MFD_CLOEXEC | MFD_ALLOW_SEALING
static const int hatchery_f_dupfd_cloexec = 1030;
static const uint64_t hatchery_clone_newns = 0x00020000;
static const uint64_t hatchery_clone_newcgroup = 0x02000000;
static const uint64_t hatchery_clone_newuts = 0x04000000;
static const uint64_t hatchery_clone_newipc = 0x08000000;
static const uint64_t hatchery_clone_newuser = 0x10000000;
static const uint64_t hatchery_clone_newpid = 0x20000000;
static const uint64_t hatchery_clone_newnet = 0x40000000;

static const unsigned hatchery_seccomp_new_listener = 1 << 3;
static const unsigned hatchery_seccomp_wait_killable = 1 << 5;  // Linux 5.19

static const unsigned hatchery_f_add_seals = 1033;
static const unsigned hatchery_f_get_seals = 1034;
static const long hatchery_all_seals = 0x1 | 0x2 | 0x4 | 0x8;  // SEAL, SHRINK, GROW, WRITE

static const int hatchery_securebits_locked =
    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
    SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

#endif
