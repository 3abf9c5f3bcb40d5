#include "probes.h"

#include <mqueue.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <time.h>

// Attempts to use up what the host has: each takes until it is refused, or until a bound of its own that lies far above
// what a sandbox should get, and tells how far it came. Done with `here`, what was taken is held afterwards.

static long long most(char **a, int n, int index, long long otherwise) {
  return n > index ? probe_number(a[index]) : otherwise;
}

// fill-processes N
static void try_processes(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 4000);
  int error = 0;
  for (; count < limit; count++) {
    pid_t pid = fork();
    if (pid == 0) {
      pause();
      _exit(0);
    }
    if (pid < 0) {
      error = errno;
      break;
    }
  }
  probe_say_after(error, count);
}

static void *sleep_for_ever(void *nothing) {
  for (;;) pause();
  return nothing;
}

// fill-threads N
static void try_threads(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 4000);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  int error = 0;
  for (; count < limit; count++) {
    pthread_t thread;
    if ((error = pthread_create(&thread, &attributes, sleep_for_ever, NULL))) break;
  }
  probe_say_after(error, count);
}

// zombies N: children that end and are not waited for
static void try_zombies(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 4000);
  int error = 0;
  for (; count < limit; count++) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0) {
      error = errno;
      break;
    }
  }
  probe_say_after(error, count);
}

// orphans N: grandchildren whose parent is gone, one after the other; somebody has to reap them. Where there is no room for
// one it waits for that, but not for ever.
static void try_orphans(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 300), waits = 0;
  while (count < limit) {
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) _exit(fork() < 0);
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) {
      count++;
    } else {
      if (++waits > 1000) return probe_say_after(EAGAIN, count);
      nanosleep(&(struct timespec){0, 5 * 1000 * 1000}, NULL);
    }
  }
  probe_say_after(0, count);
}

// fill-memory BYTES: touched page by page, with a breath in between for whoever watches
static void try_memory(char **a, int n) {
  long long limit = most(a, n, 0, 1LL << 30), step = 8 << 20;
  for (long long taken = 0; taken < limit; taken += step) {
    char *block = mmap(NULL, (size_t)step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return probe_say_after(errno, taken);
    memset(block, 1, (size_t)step);
    nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
  }
  probe_say_after(0, limit);
}

// fill-page-tables GIGABYTES: of address space, of which one page in each 2 MiB is read: the kernel's page of zeros, with a
// page table of its own
static void try_page_tables(char **a, int n) {
  size_t step = 2 << 20, length = (size_t)most(a, n, 0, 64) << 30;
  char *place = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return probe_say_result(-1);
  madvise(place, length, MADV_NOHUGEPAGE);
  for (size_t at = 0; at < length; at += step) {
    (void)*(volatile char *)(place + at);
    if (at % (2048 * step) == 0) nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL);
  }
  // A look comes at least every 100 ms.
  nanosleep(&(struct timespec){2, 0}, NULL);
  probe_say_after(0, (long long)(length / step));
}

// fill-file PATH BYTES
static void try_file(char **a, int n) {
  if (n < 1) return;
  static char block[1 << 16];
  signal(SIGXFSZ, SIG_IGN);
  int fd = open(a[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return probe_say_result(fd);
  long long written = 0, limit = most(a, n, 1, 1LL << 32);
  while (written < limit) {
    ssize_t count = write(fd, block, sizeof block);
    if (count <= 0) return probe_say_after(errno, written);
    written += count;
  }
  probe_say_after(0, written);
}

// fill-files DIRECTORY N: empty ones, each an inode
static void try_files(char **a, int n) {
  if (n < 1) return;
  char path[512];
  long long limit = most(a, n, 1, 1000000);
  for (long long count = 0; count < limit; count++) {
    snprintf(path, sizeof path, "%s/inode-%lld", a[0], count);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return probe_say_after(errno, count);
    close(fd);
  }
  probe_say_after(0, limit);
}

// fill-descriptors N
static void try_descriptors(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 200000);
  while (count < limit && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) count++;
  probe_say_after(count < limit ? errno : 0, count);
}

// fill-pipes N: pages held in pipes that were made as large as may be
static void try_pipes(char **a, int n) {
  long long pages = 0, limit = most(a, n, 0, 4000);
  for (long long count = 0; count < limit; count++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return probe_say_after(errno, pages);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    pages += fcntl(ends[1], F_GETPIPE_SZ) / 4096;
  }
  probe_say_after(0, pages);
}

// fill-sockets N
static void try_sockets(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 200000);
  int pair[2];
  while (count < limit && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) count += 2;
  probe_say_after(count < limit ? errno : 0, count);
}

// flight N: descriptors in flight, which no table counts
static void try_flight(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 200000);
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  while (count < limit) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) return probe_say_after(errno, count);
    for (;;) {
      char room[CMSG_SPACE(200 * sizeof(int))] = {0};
      struct iovec byte = {(void *)"x", 1};
      struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
      struct cmsghdr *header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(200 * sizeof(int));
      for (int i = 0; i < 200; i++) memcpy(CMSG_DATA(header) + (size_t)i * sizeof null, &null, sizeof null);
      if (sendmsg(pair[0], &message, MSG_DONTWAIT) < 0) {
        if (errno == EAGAIN || errno == ENOBUFS) break;
        return probe_say_after(errno, count);
      }
      count += 200;
    }
  }
  probe_say_after(0, count);
}

// fill-inotify N: instances; fill-watches PATH N
static void try_inotify(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 200000);
  while (count < limit && inotify_init1(IN_CLOEXEC) >= 0) count++;
  probe_say_after(count < limit ? errno : 0, count);
}


// fill-timers N
static void try_timers(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 200000);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  timer_t timer;
  while (count < limit && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) count++;
  probe_say_after(count < limit ? errno : 0, count);
}

// fill-signals N: queued and not delivered
static void try_signals(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 2000000);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  while (count < limit && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0) count++;
  probe_say_after(count < limit ? errno : 0, count);
}

// fill-queues N: POSIX message queues, as large as may be
static void try_queues(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 10000);
  char name[64];
  for (; count < limit; count++) {
    snprintf(name, sizeof name, "/fill-%lld", count);
    struct mq_attr large = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    if (mq_open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600, &large) == (mqd_t)-1) return probe_say_after(errno, count);
  }
  probe_say_after(0, count);
}

// fill-locks PATH N: one record lock for every other byte of a file
static void try_locks(char **a, int n) {
  if (n < 1) return;
  int fd = open(a[0], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  long long limit = most(a, n, 1, 100000);
  for (long long count = 0; count < limit; count++) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = count * 2, .l_len = 1};
    if (fcntl(fd, F_SETLK, &lock) < 0) return probe_say_after(errno, count);
  }
  probe_say_after(0, limit);
}

// fill-locked BYTES: memory that may not be swapped
static void try_locked(char **a, int n) {
  long long limit = most(a, n, 0, 256 << 20), step = 1 << 20;
  for (long long taken = 0; taken < limit; taken += step) {
    void *block = mmap(NULL, (size_t)step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED || mlock(block, (size_t)step) < 0) return probe_say_after(errno, taken);
  }
  probe_say_after(0, limit);
}

// fill-memfd BYTES: memory that no process has mapped
static void try_memfd(char **a, int n) {
  static char block[1 << 20];
  signal(SIGXFSZ, SIG_IGN);
  long long limit = most(a, n, 0, 1LL << 30), written = 0;
  while (written < limit) {
    int fd = (int)syscall(SYS_memfd_create, "fill", 1u);
    if (fd < 0) return probe_say_after(errno, written);
    for (int i = 0; i < 32 && written < limit; i++, written += (long long)sizeof block)
      if (write(fd, block, sizeof block) < 0) return probe_say_after(errno, written);
  }
  probe_say_after(0, written);
}

// fill-segments BYTES: System V memory that no process has attached
static void try_segments(char **a, int n) {
  long long limit = most(a, n, 0, 1LL << 30), step = 32 << 20, taken = 0;
  for (; taken < limit; taken += step) {
    int id = shmget(IPC_PRIVATE, (size_t)step, IPC_CREAT | 0600);
    if (id < 0) return probe_say_after(errno, taken);
    char *block = shmat(id, NULL, 0);
    if (block == (char *)-1) return probe_say_after(errno, taken);
    memset(block, 1, (size_t)step);
    shmdt(block);
  }
  probe_say_after(0, taken);
}

// keys N: keys of the user's keyring
static void try_keys(char **a, int n) {
  long long count = 0, limit = most(a, n, 0, 100000);
  char name[32];
  for (; count < limit; count++) {
    snprintf(name, sizeof name, "fill-%lld", count);
    if (syscall(SYS_add_key, "user", name, "x", 1, -4) < 0) return probe_say_after(errno, count);
  }
  probe_say_after(0, count);
}

// flood FD BYTES: on one of the streams
static void try_flood(char **a, int n) {
  static char block[1 << 16];
  memset(block, 'x', sizeof block);
  long long left = most(a, n, 1, 64 << 20);
  while (left > 0) {
    ssize_t count = write((int)most(a, n, 0, 2), block, sizeof block);
    if (count <= 0) return probe_say_result(count);
    left -= count;
  }
  probe_say("ok");
}

// spin, sleep: for ever
static void try_spin(char **a, int n) {
  (void)a, (void)n;
  alarm(0);
  for (volatile unsigned long i = 0;; i++) {}
}
static void try_sleep(char **a, int n) {
  (void)a, (void)n;
  alarm(0);
  for (;;) pause();
}

// survivor PATH SECONDS: a grandchild in a session of its own that ignores what it can and writes a growing number into PATH,
// for so long at most
static void try_survivor(char **a, int n) {
  if (n < 2) return;
  pid_t child = fork();
  if (child < 0) return probe_say_result(-1);
  if (child > 0) {
    waitpid(child, NULL, 0);
    return probe_say("ok");
  }
  setsid();
  if (fork() != 0) _exit(0);
  for (int number = 1; number < 64; number++) signal(number, SIG_IGN);
  // Away from every pipe: nobody may wait for its end.
  for (int fd = 0; fd < 256; fd++) close(fd);
  int fd = open(a[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  long long steps = probe_number(a[1]) * 50;
  for (long long step = 0; step < steps; step++) {
    char text[32];
    int length = snprintf(text, sizeof text, "%lld\n", step);
    (void)!pwrite(fd, text, (size_t)length, 0);
    nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL);
  }
  _exit(0);
}

const struct probe_attempt probe_exhaustion_attempts[] = {
    {"fill-processes", try_processes}, {"fill-threads", try_threads}, {"zombies", try_zombies}, {"orphans", try_orphans},
    {"fill-memory", try_memory}, {"fill-page-tables", try_page_tables}, {"fill-file", try_file}, {"fill-files", try_files}, {"fill-descriptors", try_descriptors},
    {"fill-pipes", try_pipes}, {"fill-sockets", try_sockets}, {"flight", try_flight}, {"fill-inotify", try_inotify},
    {"fill-timers", try_timers}, {"fill-signals", try_signals}, {"fill-queues", try_queues}, {"fill-locks", try_locks},
    {"fill-locked", try_locked}, {"fill-memfd", try_memfd}, {"fill-segments", try_segments}, {"keys", try_keys},
    {"flood", try_flood}, {"spin", try_spin}, {"sleep", try_sleep}, {"survivor", try_survivor}, {0},
};
