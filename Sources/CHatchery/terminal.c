// Terminals: those of sandboxes, and the one that the caller of a command sits at.

#include "include/CHatchery.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

// ---- A sandbox's own ----

int hatchery_terminal_open(int devpts, uint16_t rows, uint16_t columns, int ends[2]) {
  int terminal = openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) return -errno;
  int unlocked = 0;
  int line = -1;
  // SECURITY: by TIOCGPTPEER and not by a name, so that it is the other end of this one whatever is mounted (ioctl_tty(2)).
  if (ioctl(terminal, TIOCSPTLCK, &unlocked) != 0 ||
      (line = ioctl(terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
    int error = -errno;
    close(terminal);
    return error;
  }
  struct termios settings;
  if (tcgetattr(line, &settings) == 0) {
    settings.c_iflag |= IUTF8;  // so that a whole code point is rubbed out
    tcsetattr(line, TCSANOW, &settings);
  }
  int error = hatchery_terminal_resize(terminal, rows, columns);
  if (error < 0) {
    close(terminal);
    close(line);
    return error;
  }
  ends[0] = terminal;
  ends[1] = line;
  return 0;
}

int hatchery_terminal_take(int line) { return ioctl(line, TIOCSCTTY, 0) < 0 ? -errno : 0; }

int hatchery_terminal_resize(int terminal, uint16_t rows, uint16_t columns) {
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  return ioctl(terminal, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int hatchery_terminal_size(int terminal, uint16_t *rows, uint16_t *columns) {
  struct winsize size;
  if (ioctl(terminal, TIOCGWINSZ, &size) < 0) return -errno;
  *rows = size.ws_row;
  *columns = size.ws_col;
  return 0;
}

// ---- The caller's ----

static struct termios saved_settings;
static int raw_terminal = -1;  // written before the handlers are set, read by them

void hatchery_terminal_restore(void) {
  int terminal = __atomic_exchange_n(&raw_terminal, -1, __ATOMIC_SEQ_CST);
  // TCSAFLUSH drops what the terminal answered to the sandbox's last escape sequences: nobody typed that, and the shell
  // would read it as a command line. tcsetattr may be called by a handler (signal-safety(7)).
  if (terminal >= 0) tcsetattr(terminal, TCSAFLUSH, &saved_settings);
}

static void restore_and_die(int number) {
  hatchery_terminal_restore();
  signal(number, SIG_DFL);
  raise(number);
}

int hatchery_terminal_make_raw(int terminal) {
  static int is_registered;
  struct termios settings;
  if (tcgetattr(terminal, &settings) != 0) return -errno;
  if (raw_terminal < 0) saved_settings = settings;
  cfmakeraw(&settings);
  if (!is_registered) {
    is_registered = 1;
    atexit(hatchery_terminal_restore);
    // What ends a process without any code of ours behind it. SIGKILL is the one that nothing helps against.
    static const int deadly[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGALRM};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], restore_and_die);
  }
  raw_terminal = terminal;
  return tcsetattr(terminal, TCSADRAIN, &settings) < 0 ? -errno : 0;
}
