// Pages of the frozen heap that every child writes: reference counts, the interpreter's state. On the memfd each of them costs a
// child one fault to read it and one more to write it. Written once more by the zygote, they are its own anonymous pages: a
// clone copies their page table entries, a few hundred, and a child pays for the write alone.
//
// Which pages those are is found out, not guessed: a copy of the zygote walks the way of a child and ends, and its page map
// tells. Docs/Decisions/0020-hot-pages.md has the figures.

#include "CHatchery.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  page_bytes = 4096,
  most_ranges = 8192,
  most_pages = 32 << 10,  // 128 MiB: a rehearsal that writes more is not what every child does
  entries_at_once = 512,
  text_bytes = 64 << 10,
};

static const uint64_t entry_present = 1ULL << 63, entry_of_file = 1ULL << 61;

struct range {
  uintptr_t start, end;
};

// Shared between the zygote and its scout, and no part of the frozen heap.
struct findings {
  size_t range_count;
  struct range ranges[most_ranges];
  size_t page_count;
  uintptr_t pages[most_pages];
  uint64_t entries[entries_at_once];
  char text[text_bytes];
};

struct scout {
  struct findings *findings;
  int (*rehearse)(void);
};

// start-end rw-p offset device inode /memfd:hatchery-frozen (deleted)
static void note_range(struct findings *findings, const char *line) {
  char *next;
  struct range range;
  range.start = strtoull(line, &next, 16);
  if (*next != '-') return;
  range.end = strtoull(next + 1, &next, 16);
  bool writable = strncmp(next, " rw", 3) == 0;
  if (writable && strstr(next, " /memfd:hatchery-frozen") && findings->range_count < most_ranges)
    findings->ranges[findings->range_count++] = range;
}

static int list_frozen_ranges(struct findings *findings) {
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t filled = 0;
  ssize_t length;
  while ((length = read(fd, findings->text + filled, text_bytes - 1 - filled)) > 0) {
    filled += (size_t)length;
    findings->text[filled] = 0;
    char *line = findings->text;
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
      *end = 0;
      note_range(findings, line);
    }
    filled -= (size_t)(line - findings->text);
    memmove(findings->text, line, filled);
    if (filled >= text_bytes - 1) filled = 0;  // no line is that long
  }
  int error = length < 0 ? -errno : 0;
  close(fd);
  return error;
}

// In the scout: the frozen pages that it has written are no longer pages of the file.
static int list_written_pages(struct findings *findings) {
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return -errno;
  for (size_t i = 0; i < findings->range_count; i++) {
    const struct range *range = &findings->ranges[i];
    for (uintptr_t page = range->start; page < range->end; page += entries_at_once * page_bytes) {
      size_t wanted = (range->end - page) / page_bytes;
      if (wanted > entries_at_once) wanted = entries_at_once;
      if (pread(pagemap, findings->entries, wanted * 8, (off_t)(page / page_bytes * 8)) != (ssize_t)(wanted * 8)) return -EIO;
      for (size_t k = 0; k < wanted; k++) {
        bool written = (findings->entries[k] & entry_present) && !(findings->entries[k] & entry_of_file);
        if (written && findings->page_count < most_pages) findings->pages[findings->page_count++] = page + k * page_bytes;
      }
    }
  }
  return 0;
}

static void walk(void *context) {
  struct scout *scout = context;
  // What it prints is nobody's.
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) _exit(1);
  for (int stream = 0; stream < 3; stream++) dup2(null, stream);
  if (scout->rehearse() != 0) _exit(1);
  _exit(list_written_pages(scout->findings) == 0 ? 0 : 1);
}

int hatchery_warm_hot_pages(int (*rehearse)(void)) {
  struct findings *findings =
      mmap(NULL, sizeof *findings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (findings == MAP_FAILED) return -errno;
  int result = list_frozen_ranges(findings);
  if (result == 0) {
    struct scout scout = {findings, rehearse};
    int pid = hatchery_fork_child(walk, &scout);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (pid < 0) result = pid;
    if (pid > 0 && status != 0) result = -ECHILD;
  }
  if (result == 0) {
    for (size_t i = 0; i < findings->page_count; i++) {
      volatile char *byte = (volatile char *)findings->pages[i];
      *byte = *byte;  // one thread: nobody changes it between the two
    }
    result = (int)findings->page_count;
  }
  munmap(findings, sizeof *findings);
  return result;
}
