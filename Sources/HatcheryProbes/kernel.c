#include "probes.h"

#include <linux/capability.h>
#include <linux/landlock.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

// Attempts on the kernel's own doors: system calls by number, foreign entries, flags.

static char scratch[65536];

// sys NAME ARG...: a number, `@` for 64 KiB of zeros, `s:TEXT`, or `fd:PATH` for a descriptor of it
static void try_syscall(char **a, int n) {
  long number = probe_syscall_number(a[0]), values[6] = {0};
  if (number < 0) return probe_say("unsupported");
  for (int i = 0; i < 6 && i + 1 < n; i++) {
    char *word = a[i + 1];
    if (strcmp(word, "@") == 0)
      values[i] = (long)scratch;
    else if (strncmp(word, "s:", 2) == 0)
      values[i] = (long)(word + 2);
    else if (strncmp(word, "fd:", 3) == 0)
      values[i] = open(word + 3, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    else
      values[i] = (long)strtoull(word, NULL, 0);
  }
  probe_say_result(syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]));
}

// i386 NUMBER: by int 0x80, where numbers are another table's (CVE-2019-10063's cousin: a filter that looks at one entry)
static void try_i386(char **a, int n) {
#if defined(__x86_64__)
  long result;
  long number = n > 0 ? probe_number(a[0]) : 20;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0) : "r8", "r9", "r10", "r11", "memory");
  if (result < 0 && result > -4096) {
    errno = (int)-result;
    result = -1;
  }
  probe_say_result(result);
#else
  (void)a, (void)n;
  probe_say("unsupported");
#endif
}

// x32 NUMBER [ARG...]: the same entry with bit 30 set
static void try_x32(char **a, int n) {
#if defined(__x86_64__)
  long number = n > 0 ? probe_number(a[0]) : 39;
  probe_say_result(syscall(number | 0x40000000L, n > 1 ? probe_number(a[1]) : 0, scratch, 0, 0, 0, 0));
#else
  (void)a, (void)n;
  probe_say("unsupported");
#endif
}

// clone FLAGS: a child in other namespaces; it ends at once
static void try_clone(char **a, int n) {
  unsigned long flags = n > 0 ? strtoul(a[0], NULL, 0) : 0;
  long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  probe_say_result(pid);
}

static void try_clone3(char **a, int n) {
  uint64_t arguments[11] = {n > 0 ? strtoull(a[0], NULL, 0) : 0};
  arguments[4] = SIGCHLD;
  long pid = syscall(435, arguments, sizeof arguments);
  if (pid == 0) _exit(0);
  probe_say_result(pid);
}

// ioctl PATH REQUEST [TEXT]: on a descriptor of the path, or of standard input for `-`
static void try_ioctl(char **a, int n) {
  if (n < 2) return;
  int fd = strcmp(a[0], "-") ? open(a[0], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : 0;
  if (fd < 0) return probe_say_result(fd);
  probe_say_result(syscall(SYS_ioctl, fd, strtoul(a[1], NULL, 0), n > 2 ? a[2] : "x"));
}

// oob: urgent data on a Unix socket (CVE-2025-38236)
static void try_oob(char **a, int n) {
  (void)a, (void)n;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return probe_say_result(-1);
  probe_say_result(send(pair[0], "x", 1, MSG_OOB));
}

// capabilities: the five sets, and how much of the bounding set is left, without /proc
static void try_capabilities(char **a, int n) {
  (void)a, (void)n;
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {0};
  if (syscall(SYS_capget, &header, data) < 0) return probe_say_result(-1);
  int bounding = 0, ambient = 0;
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1) bounding++;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1) ambient++;
  }
  unsigned held = data[0].effective | data[1].effective | data[0].permitted | data[1].permitted;
  unsigned inheritable = data[0].inheritable | data[1].inheritable;
  probe_say("ok held %x inheritable %x bounding %d ambient %d", held, inheritable, bounding, ambient);
}

// capset: takes every capability
static void try_capset(char **a, int n) {
  (void)a, (void)n;
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  memset(data, 0xff, sizeof data);
  probe_say_result(syscall(SYS_capset, &header, data));
}

static int stack_landlock(void) {
  struct landlock_ruleset_attr rules = {.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK};
  int ruleset = (int)syscall(444, &rules, sizeof rules.handled_access_fs, 0);
  if (ruleset < 0) return -errno;
  int result = syscall(446, ruleset, 0) < 0 ? -errno : 0;
  close(ruleset);
  return result;
}

// landlock-room: how many more Landlock domains fit on top of the one that is there; the kernel allows sixteen
static void try_landlock_room(char **a, int n) {
  (void)a, (void)n;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  int room = 0, result;
  while ((result = stack_landlock()) == 0 && room < 100) room++;
  probe_say("%s after %d", probe_errno_name(-result), room);
}

// memfd-exec: a program that has no path, run through execveat
static void try_memfd_exec(char **a, int n) {
  (void)a, (void)n;
  int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (program < 0) program = open("/bin/true", O_RDONLY | O_CLOEXEC);
  int copy = (int)syscall(SYS_memfd_create, "probe", 0u);
  if (program < 0 || copy < 0) return probe_say_result(-1);
  ssize_t count;
  while ((count = read(program, scratch, sizeof scratch)) > 0) (void)!write(copy, scratch, (size_t)count);
  char *const words[] = {(char *)"probe", (char *)"ids", NULL}, *const none[] = {NULL};
  probe_say_result(syscall(SYS_execveat, copy, "", words, none, 0x1000 /* AT_EMPTY_PATH */));
}

// handle PATH: a file by its handle, past every mount (the Docker breakout of 2014)
static void try_handle(char **a, int n) {
  if (n < 1) return;
  struct {
    unsigned bytes;
    int type;
    unsigned char handle[128];
  } name = {.bytes = 128};
  int mount;
  if (syscall(SYS_name_to_handle_at, AT_FDCWD, a[0], &name, &mount, 0) < 0)
    return probe_say("%s by name", probe_errno_name(errno));
  int root = open("/", O_RDONLY | O_CLOEXEC);
  probe_say_result(syscall(SYS_open_by_handle_at, root, &name, O_RDONLY));
}

// realtime: a scheduler that would starve everybody else
static void try_realtime(char **a, int n) {
  (void)a, (void)n;
  struct sched_param first = {.sched_priority = 1};
  probe_say_result(sched_setscheduler(0, SCHED_FIFO, &first));
}

// layout: where stack, program and heap lie
static void try_layout(char **a, int n) {
  (void)a, (void)n;
  int local;
  void *heap = malloc(100);
  probe_say("ok stack %p program %p heap %p", (void *)&local, (void *)try_layout, heap);
}

// interface-up: the loopback interface
static void try_interface_up(char **a, int n) {
  (void)a, (void)n;
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  probe_say_result(ioctl(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), SIOCSIFFLAGS, &request));
}

const struct probe_attempt probe_kernel_attempts[] = {
    {"sys", try_syscall}, {"kernel-has", probe_kernel_has}, {"realtime", try_realtime}, {"i386", try_i386},
    {"x32", try_x32}, {"clone", try_clone}, {"clone3", try_clone3}, {"ioctl", try_ioctl}, {"oob", try_oob},
    {"capabilities", try_capabilities}, {"capset", try_capset}, {"landlock-room", try_landlock_room},
    {"memfd-exec", try_memfd_exec}, {"handle", try_handle}, {"layout", try_layout},
    {"interface-up", try_interface_up}, {0},
};
