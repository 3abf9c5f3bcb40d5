#include "CHatchery.h"
#include "new_program.h"

int hatchery_spawn_helper(const char *path, char *const argv[], char *const envp[], const int stdio[3], int pdeathsig) {
  pid_t parent = getpid();
  // Other threads run: between fork and exec only async-signal-safe calls are made.
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid > 0) return pid;

  hatchery_die_with_parent(parent, pdeathsig);
  for (int i = 0; i < 3; i++) {
    // dup3 refuses equal numbers, and such a one only has to stay open.
    if (stdio[i] == i ? fcntl(i, F_SETFD, 0) < 0 : dup2(stdio[i], i) < 0) _exit(127);
  }
  if (hatchery_close_range(3, ~0U, 0) < 0) _exit(127);
  hatchery_reset_signals_and_session();
  execve(path, argv, envp);
  const char *text = hatchery_errno_text(errno);
  (void)!write(2, text, strlen(text));
  _exit(127);
}
