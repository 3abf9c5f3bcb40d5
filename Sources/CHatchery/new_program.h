#ifndef HATCHERY_NEW_PROGRAM_H
#define HATCHERY_NEW_PROGRAM_H

// Between clone.c and helper.c alone: what a child of the front does on its way to execve, whatever it becomes. Other threads may run in
// the front, so everything here is async-signal-safe.

#include "CHatchery.h"

/// Has the kernel send `signal_number` (0: none) when the thread that forked ends; ends this process where `parent` has ended already.
static inline void hatchery_die_with_parent(pid_t parent, int signal_number) {
  if (!signal_number) return;
  prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0);
  if (getppid() != parent) _exit(127);
}

/// Default signals, none blocked, and a session of its own: a signal of the terminal that the front may have been started from is not
/// for it.
static inline void hatchery_reset_signals_and_session(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int signal_number = 1; signal_number < NSIG; signal_number++) signal(signal_number, SIG_DFL);
  setsid();
}

#endif
