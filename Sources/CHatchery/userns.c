#include "CHatchery.h"

#include <stdio.h>
#include <stdlib.h>

extern char **environ;

// Runs one of the setuid helpers of the shadow package with the words of `map` after the pid. Only they may write a map
// with ids that are not the caller's own.
static int run_helper(const char *const candidates[], pid_t target, const char *map) {
  char words[256];
  char pid_text[16];
  if (strlen(map) >= sizeof words) return -E2BIG;
  strcpy(words, map);
  // A pid of at most ten digits, without stdio between fork and exec.
  char *end = pid_text + sizeof pid_text - 1;
  *end = 0;
  for (pid_t rest = target; rest > 0; rest /= 10) *--end = (char)('0' + rest % 10);
  char *arguments[16] = {"map", end};
  int count = 2;
  for (char *word = strtok(words, " "); word && count < 15; word = strtok(NULL, " ")) arguments[count++] = word;
  pid_t helper = fork();
  if (helper < 0) return -errno;
  if (helper == 0) {
    for (int i = 0; candidates[i]; i++) execve(candidates[i], arguments, environ);
    _exit(127);
  }
  int status;
  while (waitpid(helper, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EHOSTUNREACH;
}

// The same by ourselves, which takes the rights over ids in the namespace that the process came from: a container's root has
// them where no helper is installed and nobody lent it anything.
static int write_words_as_map(pid_t target, const char *name, const char *map) {
  char path[64], lines[256];
  if (strlen(map) >= sizeof lines) return -E2BIG;
  strcpy(lines, map);
  // Three words a line.
  int blanks = 0;
  for (char *c = lines; *c; c++)
    if (*c == ' ' && ++blanks % 3 == 0) *c = '\n';
  snprintf(path, sizeof path, "/proc/%d/%s", target, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = write(fd, lines, strlen(lines)) == (ssize_t)strlen(lines) ? 0 : -errno;
  close(fd);
  return result;
}

int hatchery_enter_user_namespace(const char *uid_map, const char *gid_map) {
  static const char *const uid_helpers[] = {"/usr/bin/newuidmap", "/bin/newuidmap", NULL};
  static const char *const gid_helpers[] = {"/usr/bin/newgidmap", "/bin/newgidmap", NULL};
  // The maps are written from outside: a process that stays behind waits until this one has its new namespace.
  int go[2];
  if (pipe2(go, O_CLOEXEC) < 0) return -errno;
  pid_t self = getpid();
  pid_t writer = fork();
  if (writer < 0) {
    int error = -errno;
    close(go[0]);
    close(go[1]);
    return error;
  }
  if (writer == 0) {
    close(go[1]);
    char byte;
    if (read(go[0], &byte, 1) != 1) _exit(1);
    if (geteuid() == 0 && write_words_as_map(self, "uid_map", uid_map) == 0)
      _exit(write_words_as_map(self, "gid_map", gid_map) != 0);
    if (run_helper(uid_helpers, self, uid_map) != 0) _exit(1);
    _exit(run_helper(gid_helpers, self, gid_map) != 0);
  }
  close(go[0]);
  int result = hatchery_unshare(CLONE_NEWUSER | CLONE_NEWNS);
  if (result == 0) (void)!write(go[1], "g", 1);
  close(go[1]);
  int status = 0;
  while (waitpid(writer, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  if (result < 0) return result;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EHOSTUNREACH;
}

static int write_map(int proc, int pid, const char *name, uint32_t inside, uint32_t payload_id, uint32_t init_id) {
  char path[64], text[96];
  snprintf(path, sizeof path, "%d/%s", pid, name);
  int length = init_id == UINT32_MAX
                   ? snprintf(text, sizeof text, "%u %u 1\n", inside, payload_id)
                   : snprintf(text, sizeof text, "0 %u 1\n%u %u 1\n", init_id, inside, payload_id);
  int fd = openat(proc, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  // A map is taken whole, from one write at offset 0, or not at all.
  int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
  close(fd);
  return result;
}

int hatchery_write_id_maps(int proc, int pid, uint32_t uid, uint32_t gid, uint32_t payload_id, uint32_t init_id) {
  int result = write_map(proc, pid, "uid_map", uid, payload_id, init_id);
  return result < 0 ? result : write_map(proc, pid, "gid_map", gid, payload_id, init_id);
}
