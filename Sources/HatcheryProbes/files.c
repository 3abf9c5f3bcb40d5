#include "probes.h"

#include <dirent.h>
#include <sys/ioctl.h>

// Attempts on names: what is there, what can be read, written, made.

static int flags_of(const char *text) {
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  if (!text) return flags;
  if (strchr(text, 'p')) flags |= O_PATH;
  if (strchr(text, 'w')) flags |= strchr(text, 'r') ? O_RDWR : O_WRONLY;
  if (strchr(text, 'd')) flags |= O_DIRECTORY;
  if (strchr(text, 'n')) flags |= O_NOFOLLOW;
  return flags;
}

// open PATH [rwdpn]
static void try_open(char **a, int n) {
  if (n < 1) return;
  probe_say_result(open(a[0], flags_of(a[1])));
}

// read PATH: the first bytes of it
static void try_read(char **a, int n) {
  if (n < 1) return;
  int fd = open(a[0], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return probe_say_result(fd);
  char text[8001];
  ssize_t count = read(fd, text, sizeof text - 1);
  if (count < 0) return probe_say_result(count);
  text[count] = 0;
  for (ssize_t i = 0; i < count; i++)
    if (!text[i]) text[i] = ' ';
  probe_say("ok %s", text);
}

// write PATH TEXT: into what is there already
static void try_write(char **a, int n) {
  if (n < 2) return;
  int fd = open(a[0], O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return probe_say_result(fd);
  probe_say_result(write(fd, a[1], strlen(a[1])));
}

// create PATH MODE TEXT
static void try_create(char **a, int n) {
  if (n < 3) return;
  int fd = open(a[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, (mode_t)probe_number(a[1]));
  if (fd < 0) return probe_say_result(fd);
  fchmod(fd, (mode_t)probe_number(a[1]));
  probe_say_result(write(fd, a[2], strlen(a[2])));
}

static void try_stat(char **a, int n) {
  struct stat status;
  if (n < 1) return;
  if (lstat(a[0], &status) < 0) return probe_say_result(-1);
  probe_say("ok mode %o uid %u gid %u rdev %lu size %lld", status.st_mode, status.st_uid, status.st_gid,
            (unsigned long)status.st_rdev, (long long)status.st_size);
}

static void try_readlink(char **a, int n) {
  char text[4096];
  if (n < 1) return;
  ssize_t count = readlink(a[0], text, sizeof text - 1);
  if (count < 0) return probe_say_result(count);
  text[count] = 0;
  probe_say("ok %s", text);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// list PATH: names, sorted, divided by commas
static void try_list(char **a, int n) {
  if (n < 1) return;
  DIR *directory = opendir(a[0]);
  if (!directory) return probe_say_result(-1);
  char *names[2048], text[12000] = "";
  size_t count = 0, length = 0;
  for (struct dirent *entry; count < 2048 && (entry = readdir(directory));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names[count++] = strdup(entry->d_name);
  closedir(directory);
  qsort(names, count, sizeof *names, by_name);
  for (size_t i = 0; i < count && length < sizeof text - 300; i++)
    length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", i ? "," : "", names[i]);
  probe_say("ok %s", text);
}

// mkdir PATH, symlink TARGET PATH, unlink PATH
static void try_mkdir(char **a, int n) {
  if (n >= 1) probe_say_result(mkdir(a[0], 0777));
}
static void try_symlink(char **a, int n) {
  if (n >= 2) probe_say_result(symlink(a[0], a[1]));
}
static void try_link(char **a, int n) {
  if (n >= 2) probe_say_result(link(a[0], a[1]));
}
static void try_unlink(char **a, int n) {
  if (n >= 1) probe_say_result(unlink(a[0]));
}
static void try_chmod(char **a, int n) {
  if (n >= 2) probe_say_result(chmod(a[0], (mode_t)probe_number(a[1])));
}
static void try_chown(char **a, int n) {
  if (n >= 2) probe_say_result(lchown(a[0], (uid_t)probe_number(a[1]), (gid_t)-1));
}

// open-through-links PATH TARGET: makes PATH a link to TARGET and opens it
static void try_open_through_link(char **a, int n) {
  if (n < 2) return;
  unlink(a[0]);
  if (symlink(a[1], a[0]) < 0) return probe_say("symlink: %s", probe_errno_name(errno));
  probe_say_result(open(a[0], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
}

// directory-descriptors: whether any descriptor that is open is a directory, and where `..` of it leads
static void try_directory_descriptors(char **a, int n) {
  (void)a, (void)n;
  char found[4000] = "";
  size_t length = 0;
  for (int fd = 0; fd < 4096; fd++) {
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISDIR(status.st_mode)) continue;
    length += (size_t)snprintf(found + length, sizeof found - length, "%d ", fd);
    if (length > sizeof found - 20) break;
  }
  probe_say("ok %s", found);
}

// up: the entries that 64 times `..` from the working directory leads to
static void try_up(char **a, int n) {
  (void)a, (void)n;
  for (int i = 0; i < 64; i++)
    if (chdir("..") < 0) return probe_say_result(-1);
  char *here[] = {(char *)".", NULL};
  try_list(here, 1);
}

// up-descriptor: the same by openat on descriptors, as CVE-2024-21626's working directory was used
static void try_up_descriptor(char **a, int n) {
  (void)a, (void)n;
  int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; fd >= 0 && i < 64; i++) fd = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return probe_say_result(-1);
  struct stat up, root;
  if (fstat(fd, &up) < 0 || stat("/", &root) < 0) return probe_say_result(-1);
  probe_say("ok %s", up.st_ino == root.st_ino && up.st_dev == root.st_dev ? "root" : "beyond the root");
}

// descriptor-cwd: the working directory by way of /proc/self/fd/N (CVE-2024-21626)
static void try_descriptor_cwd(char **a, int n) {
  (void)a, (void)n;
  char path[64];
  for (int fd = 3; fd < 256; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (chdir(path) == 0) return probe_say("ok %d", fd);
  }
  probe_say("none");
}

// splice-merge PATH: the first bytes of a file that can only be read, through a pipe whose buffers were made to be appended to
// (CVE-2022-0847); what was then written must not be in the file
static void try_splice_merge(char **a, int n) {
  int file = n >= 1 ? open(a[0], O_RDONLY | O_CLOEXEC) : -1, ends[2];
  if (file < 0 || pipe2(ends, O_CLOEXEC) < 0) return probe_say_result(-1);
  static char block[4096];
  for (int i = 0; i < 16; i++) (void)!write(ends[1], block, sizeof block);
  for (int i = 0; i < 16; i++) (void)!read(ends[0], block, sizeof block);
  loff_t start = 0;
  char before[8] = "", after[8] = "";
  (void)!pread(file, before, sizeof before - 1, 0);
  if (splice(file, &start, ends[1], NULL, 1, 0) != 1) return probe_say_result(-1);
  if (write(ends[1], "merged", 6) != 6) return probe_say_result(-1);
  (void)!pread(file, after, sizeof after - 1, 0);
  probe_say(strcmp(before, after) == 0 ? "unchanged" : "changed");
}

const struct probe_attempt probe_file_attempts[] = {
    {"open", try_open}, {"read", try_read}, {"write", try_write}, {"create", try_create}, {"stat", try_stat},
    {"readlink", try_readlink}, {"list", try_list}, {"mkdir", try_mkdir}, {"symlink", try_symlink}, {"link", try_link},
    {"unlink", try_unlink}, {"chmod", try_chmod}, {"chown", try_chown}, {"open-through-link", try_open_through_link},
    {"directory-descriptors", try_directory_descriptors}, {"up", try_up}, {"up-descriptor", try_up_descriptor},
    {"descriptor-cwd", try_descriptor_cwd}, {"splice-merge", try_splice_merge}, {0},
};
