// The floors: what the kernel alone asks for, measured from a process that maps nothing but libc.
//
//   hatchery-floors F0|F0two|F1|F3 SAMPLES     prints one number of nanoseconds a line
//
// F0  a message there and back over an AF_UNIX SOCK_SEQPACKET pair, between two processes, wherever the scheduler puts
//     them; on an idle or a busy machine that is often one core, where no core has to be woken
// F0two  the same with each process bound to a core of its own
// F1  clone3, exit and wait of a tiny process
// F3  F1 with all seven namespaces

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// About as long as a request for a spawn.
enum { message_bytes = 64, warm_up_samples = 20 };

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "hatchery-floors: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void echo_until_end_of_file(int socket) {
  char message[message_bytes];
  for (;;) {
    ssize_t count = recv(socket, message, sizeof message, 0);
    if (count <= 0) _exit(0);
    if (send(socket, message, (size_t)count, MSG_NOSIGNAL) != count) _exit(1);
  }
}

// The first or the last of the cores that this process may use.
static void bind_to_core(int last) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) die("sched_getaffinity");
  int chosen = -1;
  for (int core = 0; core < CPU_SETSIZE; core++)
    if (CPU_ISSET(core, &allowed) && (chosen < 0 || last)) chosen = core;
  CPU_ZERO(&one);
  CPU_SET(chosen, &one);
  if (sched_setaffinity(0, sizeof one, &one) != 0) die("sched_setaffinity");
}

static void measure_round_trips(int apart, uint64_t *samples, size_t count) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
  pid_t echo = fork();
  if (echo < 0) die("fork");
  if (echo == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    if (apart) bind_to_core(1);
    echo_until_end_of_file(ends[1]);
  }
  close(ends[1]);
  if (apart) bind_to_core(0);
  char message[message_bytes] = {0};
  for (size_t i = 0; i < count; i++) {
    uint64_t start = now();
    if (send(ends[0], message, sizeof message, MSG_NOSIGNAL) != sizeof message) die("send");
    if (recv(ends[0], message, sizeof message, 0) != sizeof message) die("recv");
    samples[i] = now() - start;
  }
  close(ends[0]);
  if (waitpid(echo, NULL, 0) != echo) die("waitpid");
}

static void measure_clones(uint64_t flags, uint64_t *samples, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct clone_args arguments = {0};
    arguments.flags = flags;
    arguments.exit_signal = SIGCHLD;
    uint64_t start = now();
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0) die("clone3");
    if (pid == 0) syscall(SYS_exit_group, 0);
    int status;
    if (waitpid((pid_t)pid, &status, 0) != pid) die("waitpid");
    samples[i] = now() - start;
    if (status != 0) die("the clone did not exit with 0");
  }
}

int main(int argc, char **argv) {
  const uint64_t seven_namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                                    CLONE_NEWUTS | CLONE_NEWCGROUP;
  long wanted = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
  if (wanted < 1 || wanted > 10000000) {
    fprintf(stderr, "usage: hatchery-floors F0|F0two|F1|F3 SAMPLES\n");
    return 2;
  }
  size_t count = (size_t)wanted + warm_up_samples;
  uint64_t *samples = calloc(count, sizeof *samples);
  if (!samples) die("calloc");

  if (strcmp(argv[1], "F0") == 0) measure_round_trips(0, samples, count);
  else if (strcmp(argv[1], "F0two") == 0) measure_round_trips(1, samples, count);
  else if (strcmp(argv[1], "F1") == 0) measure_clones(0, samples, count);
  else if (strcmp(argv[1], "F3") == 0) measure_clones(seven_namespaces, samples, count);
  else {
    fprintf(stderr, "hatchery-floors: no floor is called %s\n", argv[1]);
    return 2;
  }
  for (size_t i = warm_up_samples; i < count; i++) printf("%llu\n", (unsigned long long)samples[i]);
  return 0;
}
