#include "CHatchery.h"
#include "new_program.h"

#include <linux/sched.h>
#include <stdlib.h>

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

int hatchery_clone_child(uint64_t flags, int cgroup_fd, int *pidfd_out, hatchery_child_entry entry, void *context) {
  // Where the kernel keeps this thread's id in user space. Without CONFIG_CHECKPOINT_RESTORE it is not told; then the
  // init's cached id stays stale, which is harmless: the init calls nothing that reads it, and the payload comes from
  // libc's own fork().
  int *thread_id_address = NULL;
  if (prctl(PR_GET_TID_ADDRESS, &thread_id_address, 0, 0, 0) != 0) thread_id_address = NULL;

  struct clone_args arguments = {0};
  arguments.flags = flags | CLONE_PARENT | (pidfd_out ? CLONE_PIDFD : 0);
  arguments.pidfd = (uint64_t)(uintptr_t)pidfd_out;
  if (thread_id_address) {
    arguments.flags |= CLONE_CHILD_SETTID;
    arguments.child_tid = (uint64_t)(uintptr_t)thread_id_address;
  }
  if (cgroup_fd >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = (uint64_t)cgroup_fd;
  }

  long pid = syscall(HATCHERY_SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return -errno;
  if (pid == 0) {
    entry(context);
    _exit(255);
  }
  return (int)pid;
}

struct shared_entry {
  hatchery_child_entry entry;
  void *context;
  int go;
};

static int enter_shared(void *argument) {
  struct shared_entry *shared = argument;
  char byte;
  // The caller's end of it is a descriptor of this process, too: there is no end of file, and none is needed.
  while (read(shared->go, &byte, 1) < 0 && errno == EINTR) {}
  shared->entry(shared->context);
  _exit(255);
}

int hatchery_clone_sharing_memory(uint64_t flags, hatchery_child_entry entry, void *context, void (*attend)(int, void *)) {
  const size_t stack_bytes = 1 << 20;
  char *stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return -errno;
  int go[2];
  if (pipe2(go, O_CLOEXEC) < 0) {
    int error = -errno;
    munmap(stack, stack_bytes);
    return error;
  }
  // Whoever changes its ids or says so ceases to be dumpable, and that is a property of the memory.
  int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  struct shared_entry shared = {entry, context, go[0]};
  int pid = clone(enter_shared, stack + stack_bytes, (int)flags | CLONE_VM | SIGCHLD, &shared);
  int result = pid < 0 ? -errno : 0;
  if (pid > 0) {
    attend(pid, context);
    (void)!write(go[1], "g", 1);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    result = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  close(go[0]);
  close(go[1]);
  munmap(stack, stack_bytes);
  return result;
}

int hatchery_fork_child(hatchery_child_entry entry, void *context) {
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    entry(context);
    _exit(255);
  }
  return pid;
}

int hatchery_spawn_program(int program_fd, char *const argv[], char *const envp[], const int *keep_fds, int keep_count,
                           int pdeathsig) {
  pid_t parent = getpid();
  // The front has helper threads in some configurations (a test, a library host), so between fork and exec only
  // async-signal-safe calls are made.
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid > 0) return pid;

  hatchery_die_with_parent(parent, pdeathsig);
  hatchery_reset_signals_and_session();
  // How many descriptors the front may have at this moment is its own affair; a zygote begins with what the host allows.
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  // SECURITY: whatever the front itself was started with (a pipe of its supervisor, a log) stays here. Close-on-exec and not
  // closed, because `program_fd` is among them.
  if (hatchery_close_range(3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) < 0) _exit(127);
  for (int i = 0; i < keep_count; i++) {
    int flags = fcntl(keep_fds[i], F_GETFD);
    if (flags < 0 || fcntl(keep_fds[i], F_SETFD, flags & ~FD_CLOEXEC) < 0) _exit(127);
  }
  fexecve(program_fd, argv, envp);
  _exit(127);
}

int hatchery_close_all_but(int first, const int *keep, int keep_count) {
  unsigned next = (unsigned)first;
  for (;;) {
    // The smallest kept descriptor that is not below `next`.
    int boundary = -1;
    for (int i = 0; i < keep_count; i++)
      if (keep[i] >= 0 && (unsigned)keep[i] >= next && (boundary < 0 || keep[i] < boundary)) boundary = keep[i];
    if (boundary < 0) return hatchery_close_range(next, ~0U, 0);
    if ((unsigned)boundary > next) {
      int result = hatchery_close_range(next, (unsigned)boundary - 1, 0);
      if (result < 0) return result;
    }
    next = (unsigned)boundary + 1;
  }
}
