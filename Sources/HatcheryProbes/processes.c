#include "probes.h"

#include <dirent.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/xattr.h>

// Attempts on processes and their memory, and on what a process has inherited.

static void try_ids(char **a, int n) {
  (void)a, (void)n;
  uid_t ruid, euid, suid;
  gid_t rgid, egid, sgid;
  getresuid(&ruid, &euid, &suid);
  getresgid(&rgid, &egid, &sgid);
  probe_say("ok uid %d %d %d gid %d %d %d groups %d", (int)ruid, (int)euid, (int)suid, (int)rgid, (int)egid, (int)sgid,
            (int)syscall(SYS_getgroups, 0, NULL));
}

static void try_pid(char **a, int n) {
  (void)a, (void)n;
  probe_say("ok %d", (int)getpid());
}

static void try_ppid(char **a, int n) {
  (void)a, (void)n;
  probe_say("ok %d", (int)getppid());
}

// session: whether it was begun in this sandbox; one from outside has no number here
static void try_session(char **a, int n) {
  (void)a, (void)n;
  probe_say("ok %s", getsid(0) > 0 && getsid(0) == getppid() ? "own" : "outer");
}

static void try_hostname(char **a, int n) {
  (void)a, (void)n;
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  probe_say("ok %s", name);
}

// processes: the numbers in /proc
static void try_processes(char **a, int n) {
  (void)a, (void)n;
  DIR *directory = opendir("/proc");
  if (!directory) return probe_say_result(-1);
  char text[8000] = "";
  size_t length = 0;
  for (struct dirent *entry; (entry = readdir(directory)) && length < sizeof text - 20;)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
      length += (size_t)snprintf(text + length, sizeof text - length, "%s ", entry->d_name);
  closedir(directory);
  probe_say("ok %s", text);
}

// descriptors: every number that is open, by trying them all; /proc/self/fd would need one more
static void try_descriptors(char **a, int n) {
  (void)a, (void)n;
  char text[4000] = "";
  size_t length = 0;
  for (int fd = 0; fd < 70000 && length < sizeof text - 20; fd++)
    if (fcntl(fd, F_GETFD) >= 0) length += (size_t)snprintf(text + length, sizeof text - length, "%d ", fd);
  probe_say("ok %s", text);
}

static void try_kill(char **a, int n) {
  if (n >= 2) probe_say_result(kill((pid_t)probe_number(a[0]), (int)probe_number(a[1])));
}

static void try_ptrace(char **a, int n) {
  if (n < 1) return;
  long result = ptrace(PTRACE_SEIZE, (pid_t)probe_number(a[0]), 0, 0);
  probe_say_result(result);
}

// ptrace-child: a child of one's own, which a debugger would do
static void try_ptrace_child(char **a, int n) {
  (void)a, (void)n;
  pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  long result = ptrace(PTRACE_SEIZE, child, 0, 0);
  int error = errno;
  kill(child, SIGKILL);
  errno = error;
  probe_say_result(result);
}

// vm-read PID, vm-write PID: the memory at an address of our own
static void vm_access(char **a, int n, long number) {
  if (n < 1) return;
  static char bytes[16];
  struct iovec local = {bytes, sizeof bytes}, remote = {bytes, sizeof bytes};
  probe_say_result(syscall(number, (pid_t)probe_number(a[0]), &local, 1, &remote, 1, 0));
}
static void try_vm_read(char **a, int n) { vm_access(a, n, SYS_process_vm_readv); }
static void try_vm_write(char **a, int n) { vm_access(a, n, SYS_process_vm_writev); }

// limit NAME-NUMBER: soft and hard
static void try_limit(char **a, int n) {
  struct rlimit limit;
  if (n < 1) return;
  if (getrlimit((int)probe_number(a[0]), &limit) < 0) return probe_say_result(-1);
  probe_say("ok %llu %llu", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
}

// raise-limit NUMBER: the hard limit to infinity
static void try_raise_limit(char **a, int n) {
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  if (n >= 1) probe_say_result(setrlimit((int)probe_number(a[0]), &limit));
}

// Memory

struct mapping {
  uintptr_t start, end;
  char rights[8];
  char name[512];
};

// One line of /proc/self/maps after the other, without stdio's heap: the heap is what is looked at.
static int next_mapping(int fd, struct mapping *mapping) {
  char line[1024];
  size_t length = 0;
  char byte;
  while (read(fd, &byte, 1) == 1 && byte != '\n')
    if (length < sizeof line - 1) line[length++] = byte;
  if (length == 0) return 0;
  line[length] = 0;
  mapping->name[0] = 0;
  unsigned long start, end;
  if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %511[^\n]", &start, &end, mapping->rights, mapping->name) < 3) return 0;
  mapping->start = start;
  mapping->end = end;
  return 1;
}

// frozen: the first writable mapping of a memfd, which is how a zygote's frozen heap looks
static int frozen(struct mapping *mapping) {
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  int found = 0;
  while (fd >= 0 && !found && next_mapping(fd, mapping))
    found = strstr(mapping->name, "memfd:") && mapping->rights[1] == 'w' && mapping->end - mapping->start >= 65536;
  if (fd >= 0) close(fd);
  return found;
}

static void try_frozen(char **a, int n) {
  (void)a, (void)n;
  struct mapping mapping;
  if (!frozen(&mapping)) return probe_say("none");
  probe_say("ok %#lx %s %s", (unsigned long)mapping.start, mapping.rights, mapping.name);
}

// frozen-file r|rw: the memfd behind the mapping, opened through /proc/self/map_files
static void try_frozen_file(char **a, int n) {
  struct mapping mapping;
  char path[128];
  if (!frozen(&mapping)) return probe_say("none");
  snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)mapping.start, (unsigned long)mapping.end);
  probe_say_result(open(path, (n > 0 && strchr(a[0], 'w') ? O_RDWR : O_RDONLY) | O_CLOEXEC));
}

// frozen-share: the mapping doubled as it is; of a private one the kernel gives no second
static void try_frozen_share(char **a, int n) {
  (void)a, (void)n;
  struct mapping mapping;
  if (!frozen(&mapping)) return probe_say("none");
  void *twin = mremap((void *)mapping.start, 0, 4096, MREMAP_MAYMOVE);
  if (twin == MAP_FAILED) return probe_say_result(-1);
  probe_say("ok");
}

// peek ADDRESS, poke ADDRESS BYTE
static void try_peek(char **a, int n) {
  if (n >= 1) probe_say("ok %u", *(volatile unsigned char *)(uintptr_t)strtoull(a[0], NULL, 0));
}
static void try_poke(char **a, int n) {
  if (n < 2) return;
  *(volatile unsigned char *)(uintptr_t)strtoull(a[0], NULL, 0) = (unsigned char)probe_number(a[1]);
  probe_say("ok");
}
// poke-mem ADDRESS BYTE: the same through /proc/self/mem, which writes where the mapping is read-only as well
static void try_poke_mem(char **a, int n) {
  if (n < 2) return;
  int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (fd < 0) return probe_say_result(fd);
  unsigned char byte = (unsigned char)probe_number(a[1]);
  probe_say_result(pwrite(fd, &byte, 1, (off_t)strtoull(a[0], NULL, 0)));
}

static long count_in(const unsigned char *bytes, size_t size, const unsigned char *marker, size_t length) {
  long count = 0;
  for (const unsigned char *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), marker, length)); at += length)
    count++;
  return count;
}

// scan HEX: how often the marker, each of whose bytes is given with all bits turned, stands in this process' memory
static void try_scan(char **a, int n) {
  if (n < 1) return;
  unsigned char marker[64];
  size_t length = 0;
  for (const char *c = a[0]; c[0] && c[1] && length < sizeof marker; c += 2) {
    char pair[3] = {c[0], c[1], 0};
    marker[length++] = (unsigned char)~strtoul(pair, NULL, 16);
  }
  int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  if (maps < 0 || memory < 0) return probe_say_result(-1);
  size_t room = 1 << 20;
  unsigned char *copy = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  long found = 0;
  long long looked = 0;
  struct mapping mapping;
  while (next_mapping(maps, &mapping)) {
    if (mapping.rights[0] != 'r' || (uintptr_t)copy == mapping.start) continue;
    for (uintptr_t at = mapping.start; at < mapping.end; at += room) {
      ssize_t count = pread(memory, copy, mapping.end - at < room ? mapping.end - at : room, (off_t)at);
      if (count <= 0) break;
      looked += count;
      found += count_in(copy, (size_t)count, marker, length);
      memset(copy, 0, (size_t)count);
    }
  }
  // The marker itself stands once in this function's own frame.
  probe_say("ok %ld", found > 0 ? found - 1 : 0);
  if (looked < 100000) probe_say("too little memory could be read");
}

// frame-number: of the page that a variable of this function is on
static void try_frame_number(char **a, int n) {
  (void)a, (void)n;
  volatile int here = 1;
  uint64_t entry = 0;
  int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return probe_say_result(fd);
  if (pread(fd, &entry, 8, (off_t)((uintptr_t)&here / 4096 * 8)) != 8) return probe_say_result(-1);
  probe_say("ok %llu", (unsigned long long)(entry & ((1ULL << 55) - 1)));
}

// variable NAME: of the environment
static void try_variable(char **a, int n) {
  const char *value = n > 0 ? getenv(a[0]) : NULL;
  probe_say("%s%s", value ? "ok " : "none", value ? value : "");
}

// core: dies of SIGSEGV in a writable directory; tells whether a core file came of it
static void try_core(char **a, int n) {
  if (n < 1 || chdir(a[0]) < 0) return probe_say_result(-1);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    raise(SIGSEGV);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  probe_say("%s", WCOREDUMP(status) ? "dumped" : "not dumped");
}

// exec-ids PATH: what a copy of hatchery-probe at PATH says of its ids
static void try_exec_ids(char **a, int n) {
  int ends[2];
  if (n < 1 || pipe2(ends, O_CLOEXEC) < 0) return probe_say_result(-1);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    char *const words[] = {a[0], (char *)"ids", NULL}, *const none[] = {NULL};
    execve(a[0], words, none);
    dprintf(1, "%s", probe_errno_name(errno));
    _exit(1);
  }
  close(ends[1]);
  char text[256];
  ssize_t count = read(ends[0], text, sizeof text - 1);
  waitpid(child, NULL, 0);
  text[count > 0 ? count : 0] = 0;
  if (count > 0 && text[count - 1] == '\n') text[count - 1] = 0;
  probe_say("%s", text);
}

// file-capabilities PATH ROOT: every capability, for whoever runs the file in a user namespace whose root is ROOT outside
static void try_file_capabilities(char **a, int n) {
  if (n < 2) return;
  struct vfs_ns_cap_data data = {
      .magic_etc = VFS_CAP_REVISION_3 | VFS_CAP_FLAGS_EFFECTIVE,
      .data = {{.permitted = 0xffffffff}, {.permitted = 0x1ff}},
      .rootid = (uint32_t)probe_number(a[1]),
  };
  probe_say_result(setxattr(a[0], "security.capability", &data, sizeof data, 0));
}

const struct probe_attempt probe_process_attempts[] = {
    {"ids", try_ids}, {"pid", try_pid}, {"ppid", try_ppid}, {"hostname", try_hostname}, {"session", try_session},
    {"processes", try_processes}, {"descriptors", try_descriptors}, {"kill", try_kill}, {"ptrace", try_ptrace},
    {"ptrace-child", try_ptrace_child}, {"vm-read", try_vm_read}, {"vm-write", try_vm_write}, {"limit", try_limit},
    {"raise-limit", try_raise_limit}, {"frozen", try_frozen}, {"frozen-file", try_frozen_file},
    {"frozen-share", try_frozen_share}, {"peek", try_peek}, {"poke", try_poke}, {"poke-mem", try_poke_mem},
    {"scan", try_scan}, {"frame-number", try_frame_number}, {"variable", try_variable}, {"core", try_core},
    {"exec-ids", try_exec_ids}, {"file-capabilities", try_file_capabilities}, {0},
};
