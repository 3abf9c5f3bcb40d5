#include "CHatchery.h"

int hatchery_spawn_helper(const char *path, char *const argv[], char *const envp[], const int stdio[3], int pdeathsig) {
  pid_t parent = getpid();
  // Other threads run: between fork and exec only async-signal-safe calls are made.
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid > 0) return pid;

  if (pdeathsig) {
    prctl(PR_SET_PDEATHSIG, pdeathsig, 0, 0, 0);
    if (getppid() != parent) _exit(127);
  }
  for (int i = 0; i < 3; i++) {
    // dup3 refuses equal numbers, and such a one only has to stay open.
    if (stdio[i] == i ? fcntl(i, F_SETFD, 0) < 0 : dup2(stdio[i], i) < 0) _exit(127);
  }
  if (hatchery_close_range(3, ~0U, 0) < 0) _exit(127);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int signal_number = 1; signal_number < NSIG; signal_number++) signal(signal_number, SIG_DFL);
  // A signal of the terminal that the front may have been started from is not for it.
  setsid();
  execve(path, argv, envp);
  const char *text = hatchery_errno_text(errno);
  (void)!write(2, text, strlen(text));
  _exit(127);
}
