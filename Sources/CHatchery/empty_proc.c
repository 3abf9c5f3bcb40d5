// C because between clone and _exit the child must touch nothing of the caller's runtime.
#include "CHatchery.h"

#include <linux/sched.h>

static int make_proc(void) {
  int context = hatchery_fsopen("proc");
  if (context < 0) return context;
  int result = hatchery_fsconfig(context, HATCHERY_FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (result == 0)
    result = hatchery_fsmount(
        context, HATCHERY_MOUNT_ATTR_NOSUID | HATCHERY_MOUNT_ATTR_NODEV | HATCHERY_MOUNT_ATTR_NOEXEC);
  close(context);
  return result;
}

int hatchery_make_empty_proc(void) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  // A /proc belongs to the pid namespace of the process that makes it.
  long child = syscall(SYS_clone, (unsigned long)(CLONE_NEWPID | SIGCHLD), 0, 0, 0, 0);
  if (child == 0) {
    int proc = make_proc();
    int result = hatchery_send_message(pair[1], &proc, sizeof proc, &proc, proc < 0 ? 0 : 1, 0);
    _exit(result < 0);
  }
  int result = child < 0 ? -errno : 0;
  close(pair[1]);
  if (child > 0) {
    int answer = -EIO, proc = -1, count = 1, flags = 0;
    long length = hatchery_receive_message(pair[0], &answer, sizeof answer, &proc, &count, &flags, 0);
    while (waitpid((pid_t)child, NULL, 0) < 0 && errno == EINTR) {}
    result = length != (long)sizeof answer ? -EIO : count == 1 ? proc : answer < 0 ? answer : -EMFILE;
  }
  close(pair[0]);
  return result;
}
