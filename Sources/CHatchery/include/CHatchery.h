#ifndef CHATCHERY_H
#define CHATCHERY_H

// What Swift cannot say: variadic functions, system calls without a libc wrapper, function-like macros, and calls that
// return twice. Every function returns a value >= 0, or the negative errno; none touches errno for its caller.

// No feature macro is defined here: the Swift importer compiles libc's headers once for all modules, and a macro of ours
// would give the same types two shapes. What only GNU's headers declare is called in the .c files, or by number.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hatchery_syscalls.h"

// ---- Calls that return twice, hidden (clone.c) ----

/// What the child of a clone runs. It must not return: its frames are copies of the zygote's.
typedef void (*hatchery_child_entry)(void *context);

/// clone3 with the namespaces of `flags` and CLONE_PARENT, so that the caller's own parent becomes the child's parent.
/// The child enters `entry(context)` and never comes back; where `entry` returns all the same, the child ends with 255.
///
/// glibc's cached thread id is made right in the child: CLONE_CHILD_SETTID writes the new id to where the kernel was told
/// that the thread's id lives (PR_GET_TID_ADDRESS), because raise(), abort() and recursive mutexes read the cache.
///
/// Returns the child's pid in the caller's pid namespace, or -errno. With CLONE_PARENT clone3 wants exit_signal 0.
int hatchery_clone_child(uint64_t flags, int cgroup_fd, int *pidfd_out, hatchery_child_entry entry, void *context);

/// Writes uid_map and gid_map of a child in a user namespace of its own: `init_id` (or UINT32_MAX for none) as 0 inside, and
/// `payload_id` as `uid` and `gid`. `proc` is the directory /proc. Allocates nothing. Returns 0 or -errno.
int hatchery_write_id_maps(int proc, int pid, uint32_t uid, uint32_t gid, uint32_t payload_id, uint32_t init_id);

/// A detached /proc of a pid namespace in which nobody lives or will, or -errno (empty_proc.c). It shows no process, and its being
/// visible lets the namespaces of children have one of their own (mount_too_revealing() in fs/namespace.c).
int hatchery_make_empty_proc(void);

/// clone(2) with the namespaces of `flags` and CLONE_VM: what `entry` leaves behind in memory stays behind in the caller's. Both have
/// one thread-local storage, so only one of them runs at a time: the child waits until `attend(pid, context)` has returned, and the caller
/// then until the child has ended. Returns its exit status, 256 and more for a signal, or -errno.
int hatchery_clone_sharing_memory(uint64_t flags, hatchery_child_entry entry, void *context, void (*attend)(int pid, void *context));

/// libc's fork(), so that its own bookkeeping (thread id, stdio locks, malloc, pthread_atfork handlers of BLAS and others)
/// is right in the child. The child enters `entry(context)` and never comes back. Returns the child's pid or -errno.
int hatchery_fork_child(hatchery_child_entry entry, void *context);

/// Starts a program: fork, then `before_exec(context)` in the child, then execve of the open file `program_fd`.
/// For the single-threaded moments of the front and for the launcher; returns the pid or -errno of fork.
/// A failure in the child after the fork ends it with status 127.
int hatchery_spawn_program(int program_fd, char *const argv[], char *const envp[],
                           const int *keep_fds, int keep_count, int pdeathsig);

/// Starts a program of the host by its path (helper.c), with `stdio` as its descriptors 0 to 2, which must be above 2 or stand in
/// their own places, and no others. It is sent `pdeathsig` when the calling *thread* ends. Returns the pid or -errno of fork;
/// where the program cannot be executed, the errno's text goes to `stdio[2]` and the status is 127.
int hatchery_spawn_helper(const char *path, char *const argv[], char *const envp[], const int stdio[3], int pdeathsig);

/// Enters a new user and mount namespace whose maps are written by newuidmap and newgidmap (shadow), each given the words
/// of its map. Returns 0; -EHOSTUNREACH where the namespace exists but a helper is missing or refused; else -errno.
int hatchery_enter_user_namespace(const char *uid_map, const char *gid_map);

/// Overwrites the memory behind argv and environ of this process (as the kernel recorded it at exec), so that
/// /proc/self/cmdline shows `title` and /proc/self/environ shows nothing of what the zygote was started with.
int hatchery_set_process_title(const char *title);

/// libc's stdout by lines, whatever it leads to. Here because Swift 6 does not let `stdout` be named.
void hatchery_buffer_stdout_by_line(void);

// ---- The frozen heap (freeze.c) ----

struct hatchery_freeze_result {
  /// Moved into the sealed memfd, and the number of pieces.
  uint64_t bytes;
  uint32_t mappings;
  /// Written pages that stayed as they were: in special mappings, or all that came after a failure.
  uint32_t left_mappings;
  uint64_t left_bytes;
  /// Where nothing could be moved: memory that became huge pages instead.
  uint64_t collapsed_bytes;
  /// 0, or the errno of `failed_call`, a text that is never freed.
  int32_t error;
  const char *failed_call;
  /// What of this an operator should know, as text; empty where everything is frozen.
  char note[320];
};

/// Moves every page that this process has written into one sealed memfd, mapped privately over the same addresses, so that a
/// clone copies no page tables for them. All but the stack, the thread's own pages, and mappings that are more than
/// memory. The process must be single-threaded. It works on afterwards whatever the result: 0, or -errno.
int hatchery_freeze_heap(struct hatchery_freeze_result *result);

/// Where argv and environ lie, once hatchery_set_process_title was called; their length in bytes, 0 where it is not known.
size_t hatchery_process_title_area(char **start);

/// Closes every descriptor from `first` up, except the ones in `keep` (ascending order not needed; at most 64).
int hatchery_close_all_but(int first, const int *keep, int keep_count);

/// Sends one message with up to HATCHERY_MAX_FDS descriptors; returns the bytes sent or -errno.
int hatchery_send_message(int socket, const void *bytes, size_t length, const int *fds, int fd_count, int flags);

/// Receives one message; descriptors arrive close-on-exec. `*fd_count` is the room on entry and the number on return.
/// `*message_flags` receives MSG_TRUNC and MSG_CTRUNC. Descriptors beyond the room are closed by the kernel.
int hatchery_receive_message(int socket, void *buffer, size_t capacity, int *fds, int *fd_count,
                             int *message_flags, int flags);

#define HATCHERY_MAX_FDS 253  // the kernel's SCM_MAX_FD

/// The peer of a connected Unix socket.
struct hatchery_peer {
  int32_t pid;
  uint32_t uid;
  uint32_t gid;
};
int hatchery_peer_credentials(int socket, struct hatchery_peer *peer);

/// The peer's supplementary groups. `bytes` is the room, and afterwards what is used; with -ERANGE what would be.
int hatchery_peer_groups(int socket, uint32_t *groups, uint32_t *bytes);

/// Has a socket of AF_NETLINK told what the multicast groups of `groups` hear. Returns 0 or -errno.
int hatchery_netlink_bind(int socket, uint32_t groups);

/// Brings an interface of this network namespace up, by name.
int hatchery_interface_up(const char *name);

/// Symbolic name of an errno value such as "EPERM", or NULL.
const char *hatchery_errno_name(int error);

/// What strerror(3) says in the C locale.
const char *hatchery_errno_text(int error);

/// Name of a signal such as "TERM", or NULL (sigabbrev_np(3)).
const char *hatchery_signal_name(int signal);

/// statx(2) with AT_STATX_DONT_SYNC: what the kernel knows without asking a file system that may never answer.
struct hatchery_cached_status {
  uint32_t mode;
  uint64_t device;
  uint64_t inode;
};
int hatchery_stat_cached(int fd, struct hatchery_cached_status *status);

/// A device number, makedev(3).
dev_t hatchery_makedev(unsigned major, unsigned minor);

int hatchery_pipe(int ends[2]);
int hatchery_accept(int listener);

// ---- Refused system calls (refusals.c) ----

/// A call that waits for its answer.
struct hatchery_refusal {
  uint64_t id;
  uint32_t syscall;
  /// What the filter's text has for it; 0 for a call that is told and goes on.
  int32_t error;
};

/// Takes the next call off a filter's listener and looks up in `program`, the filter itself (`count` instructions), what to say
/// to it. Returns 0; -ENOENT where the caller is gone meanwhile; else -errno.
int hatchery_refusal_take(int listener, const void *program, size_t count, struct hatchery_refusal *refusal);

/// Answers it with its errno, or lets it go on where that is 0. Returns 0 or -errno; -ENOENT where the caller is gone.
int hatchery_refusal_answer(int listener, const struct hatchery_refusal *refusal);

// ---- Terminals (terminal.c) ----

/// A new terminal of the devpts file system whose root is open as `devpts`: `ends[0]` is for whoever sits at it, `ends[1]` for the
/// programs that run in it. Both close-on-exec. Returns 0 or -errno.
int hatchery_terminal_open(int devpts, uint16_t rows, uint16_t columns, int ends[2]);

/// Makes `line` the controlling terminal of this process, which leads a session without one (TIOCSCTTY).
int hatchery_terminal_take(int line);

/// Sets the size; the programs of the foreground get SIGWINCH where it changed.
int hatchery_terminal_resize(int terminal, uint16_t rows, uint16_t columns);

/// -ENOTTY where `terminal` is none.
int hatchery_terminal_size(int terminal, uint16_t *rows, uint16_t *columns);

/// Puts the caller's terminal into raw mode, until `hatchery_terminal_restore`, exit, or a deadly signal. May be repeated. One
/// terminal of a process. Returns 0 or -errno.
int hatchery_terminal_make_raw(int terminal);

/// Puts the caller's terminal back as it was; nothing where it was not changed. Async-signal-safe.
void hatchery_terminal_restore(void);

// ---- What this host can do (probes.c), for `hatchery doctor` ----

/// -EINVAL where the kernel has clone3 and lets us call it, -ENOSYS where it or a seccomp policy around us says no.
int hatchery_probe_clone3(void);

/// Landlock's ABI version, or -errno.
int hatchery_probe_landlock(void);

/// 0 where filters can answer with an errno.
int hatchery_probe_seccomp(void);

/// 0 where all seven namespaces can be made without any right, or -errno.
int hatchery_probe_namespaces(void);

/// 0 where a fresh /proc can be mounted in them, or -errno.
int hatchery_probe_fresh_proc(void);

#endif
