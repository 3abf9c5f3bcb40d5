#include "CHatchery.h"

int hatchery_probe_clone3(void) {
  // No arguments at all: a kernel that knows the call says EINVAL, and nothing is made.
  HATCHERY_NEGATIVE_ERRNO(syscall(HATCHERY_SYS_clone3, NULL, (size_t)0));
}

int hatchery_probe_landlock(void) {
  // landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION.
  HATCHERY_NEGATIVE_ERRNO(syscall(444, NULL, (size_t)0, 1u));
}

int hatchery_probe_seccomp(void) {
  // SECCOMP_GET_ACTION_AVAIL for SECCOMP_RET_ERRNO.
  unsigned action = 0x00050000u;
  HATCHERY_NEGATIVE_ERRNO(syscall(SYS_seccomp, 2u, 0u, &action));
}

// The probes below run in processes of their own, because what they try cannot be undone. The exit status is the errno.

static void unshare_everything(void *with_proc) {
  uint64_t flags = hatchery_clone_newuser | hatchery_clone_newns | hatchery_clone_newpid | hatchery_clone_newnet |
                   hatchery_clone_newipc | hatchery_clone_newuts | hatchery_clone_newcgroup;
  int result = hatchery_unshare((int)flags);
  if (result < 0) _exit(-result);
  if (!with_proc) _exit(0);
  // The first child is process 1 of the new pid namespace; only there a fresh /proc is allowed.
  pid_t child = fork();
  if (child == 0) {
    result = hatchery_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    _exit(result < 0 ? -result : 0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) _exit(EIO);
  _exit(WEXITSTATUS(status));
}

static int in_child(void (*entry)(void *), void *context) {
  int pid = hatchery_fork_child(entry, context);
  if (pid < 0) return pid;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int hatchery_probe_namespaces(void) { return in_child(unshare_everything, NULL); }

int hatchery_probe_fresh_proc(void) { return in_child(unshare_everything, (void *)1); }
