// The frozen heap: every page that this process wrote moves into one sealed memfd, which is mapped back over the same
// addresses. A clone then copies no page tables for them: the kernel does that only for mappings that have an anon_vma
// (vma_needs_copy() in mm/memory.c), and a private file mapping that nobody wrote to has none.
// Docs/Decisions/0012-frozen-heap.md has the reasons and the figures.
//
// This code replaces the memory that it runs in, the data of libc and of this library included. That is sound because
//   - there is one thread, and every signal is blocked;
//   - between a page's copy and its replacement by mmap(MAP_FIXED), which is one system call, nothing writes to it: what is
//     written here lies on the stack, which stays, and in a shared mapping of our own, which stays too;
//   - libc's functions that are called here write no state but errno. The thread's own page, with errno and with what the
//     kernel writes at its leisure (rseq, the thread id), stays.
//
// The memfd's pages are charged to the cgroup that the zygote is in while it writes them, as its heap was, and are swapped
// as a heap is. They are of 4 KiB unless /sys/kernel/mm/transparent_hugepage/shmem_enabled says otherwise, even where the
// heap had huge pages. The file lives as long as its last mapping: the zygote, or the last of its children. It has no holes:
// a child that reads one would fill it with a page that outlives the child and that no limit counts afterwards.

#include "CHatchery.h"

#include "freeze_madvise.h"
#include "freeze_workspace.h"

#include <linux/memfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define PR_GET_TID_ADDRESS_NUMBER 40

enum {
  // Two pieces of written memory with a smaller gap are moved as one: a mapping costs a clone about as much as the pages
  // of the gap cost memory.
  gap_pages = 16,
  // What is copied before it is replaced: the memory needed twice at a time.
  piece_bytes = 32 << 20,
  // glibc gives allocations from 128 KiB up a mapping of their own.
  smallest_own_mapping = 64 << 10,
  most_splits = 4096,
};

static const uint64_t entry_present = 1ULL << 63, entry_swapped = 1ULL << 62, entry_of_file = 1ULL << 61,
                      entry_guard = 1ULL << 58;

// ---- What there is: /proc/self/smaps ----

static const char *hexadecimal(const char *text, uintptr_t *value) {
  *value = 0;
  for (;; text++) {
    int digit = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 : -1;
    if (digit < 0) return text;
    *value = *value << 4 | (uintptr_t)digit;
  }
}

// start-end rwxp offset device inode path
static bool parse_mapping(const char *line, struct region *region) {
  uintptr_t ignored;
  const char *next = hexadecimal(line, &region->start);
  if (*next != '-' || next == line) return false;
  next = hexadecimal(next + 1, &region->end);
  if (*next++ != ' ') return false;
  region->protection = (next[0] == 'r' ? PROT_READ : 0) | (next[1] == 'w' ? PROT_WRITE : 0) | (next[2] == 'x' ? PROT_EXEC : 0);
  bool private = next[3] == 'p';
  next = hexadecimal(next + 5, &ignored);  // offset
  while (*next == ' ') next++;
  while (*next && *next != ' ') next++;    // device
  while (*next == ' ') next++;
  for (; *next >= '0' && *next <= '9'; next++) region->inode = region->inode * 10 + (uintptr_t)(*next - '0');
  region->of_file = region->inode != 0;
  while (*next == ' ') next++;
  // Special mappings: the stack (MAP_GROWSDOWN, and in use), vdso, vvar, vsyscall. Only the heap's name is harmless, and
  // the names that prctl(PR_SET_VMA_ANON_NAME) gave.
  bool special = *next == '[' && strncmp(next, "[heap]", 6) != 0 && strncmp(next, "[anon:", 6) != 0;
  region->movable = private && !special;
  return true;
}

// Flags that a new mapping has as well, or that mean nothing once a process is ready. Everything else says that the mapping
// is more than memory: locked (lo), device or raw frames (io, pf, mm), wiped or left out at a fork (wf, dc), left out of core
// dumps (dd), sealed (sl), watched (um, uw), growing (gd), guarded (gu), droppable (dp), shadow stack (ss), huge pages (ht).
static const char known_flags[] = "rd wr ex mr mw me ac nr hg nh sd sr rr mg ";

static void parse_flags(const char *line, struct region *region) {
  for (; line[0] == ' '; line++) {}
  for (; line[0] && line[1]; line += line[2] == ' ' ? 3 : 2) {
    bool known = false;
    for (const char *flag = known_flags; *flag; flag += 3)
      if (flag[0] == line[0] && flag[1] == line[1]) known = true;
    if (!known && region->movable) {
      region->movable = false;
      memcpy(region->flag, line, 2);
    }
    if (line[0] == 'n' && line[1] == 'r') region->no_reserve = true;
    if (line[0] == 'h' && line[1] == 'g') region->huge = true;
    if (line[0] == 'n' && line[1] == 'h') region->no_huge = true;
  }
}

static void parse_line(struct workspace *work, const char *line) {
  struct region *current = work->region_count ? &work->regions[work->region_count - 1] : NULL;
  if (strncmp(line, "Anonymous:", 10) == 0 && current)
    current->anonymous_bytes += strtoull(line + 10, NULL, 10) * 1024;
  else if (strncmp(line, "Swap:", 5) == 0 && current)
    current->anonymous_bytes += strtoull(line + 5, NULL, 10) * 1024;
  else if (strncmp(line, "VmFlags:", 8) == 0 && current)
    parse_flags(line + 8, current);
  else if (strncmp(line, "ProtectionKey:", 14) == 0 && current && strtoull(line + 14, NULL, 10) != 0)
    current->movable = false;
  else if (work->region_count < most_regions) {
    struct region region = {0};
    if (parse_mapping(line, &region)) work->regions[work->region_count++] = region;
  }
}

static int list_regions(struct workspace *work) {
  int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t filled = 0;
  for (;;) {
    ssize_t length = read(fd, work->text + filled, text_bytes - 1 - filled);
    if (length <= 0) {
      int error = length < 0 ? -errno : 0;
      close(fd);
      return error;
    }
    filled += (size_t)length;
    work->text[filled] = 0;
    char *line = work->text;
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
      *end = 0;
      parse_line(work, line);
    }
    filled -= (size_t)(line - work->text);
    memmove(work->text, line, filled);
    if (filled >= text_bytes - 1) filled = 0;  // no line is that long
  }
}

// ---- Moving ----

int hatchery_freeze_append(struct workspace *work, const void *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = pwrite(work->memory, bytes, length, (off_t)work->file_bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? -errno : -ENOSPC;
    work->file_bytes += (uint64_t)written;
    bytes = (const char *)bytes + written;
    length -= (size_t)written;
  }
  return 0;
}

void hatchery_freeze_cut(struct workspace *work, uint64_t offset) {
  work->file_bytes = offset;
  (void)!ftruncate(work->memory, (off_t)offset);
}

int hatchery_freeze_replace(struct workspace *work, uintptr_t start, uintptr_t end, int protection, int flags, uint64_t offset) {
  if (mmap((void *)start, end - start, protection, MAP_PRIVATE | MAP_FIXED | flags, work->memory, (off_t)offset) == MAP_FAILED) {
    int error = -errno;
    // Out of memory in the middle of mmap: where the old mapping is gone, so is the zygote, and the front starts another.
    // Going on would be worse. mincore tells without touching the page.
    unsigned char resident;
    if (mincore((void *)start, page_bytes, &resident) != 0 && errno == ENOMEM) _exit(70);
    hatchery_freeze_cut(work, offset);
    return error;
  }
  work->result->bytes += end - start;
  return 0;
}

int hatchery_freeze_try_mapping(const struct workspace *work, size_t length, int protection) {
  void *trial = mmap(NULL, length, protection, MAP_PRIVATE | MAP_NORESERVE, work->memory, 0);
  if (trial == MAP_FAILED) return -errno;
  munmap(trial, length);
  return 0;
}

// Copies one piece to the end of the file, and maps it from there.
static int move_piece(struct workspace *work, const struct region *region, uintptr_t start, uintptr_t end) {
  uint64_t offset = work->file_bytes;
  int error = hatchery_freeze_append(work, (const void *)start, end - start);
  if (error == 0) return hatchery_freeze_replace(work, start, end, region->protection, region->no_reserve ? MAP_NORESERVE : 0, offset);
  hatchery_freeze_cut(work, offset);
  return error;
}

static int move_run(struct workspace *work, const struct region *region, uintptr_t start, uintptr_t end) {
  if (start >= end) return 0;
  int refused = hatchery_freeze_try_mapping(work, end - start, region->protection);
  if (refused != 0) return refused;
  for (uintptr_t piece = start; piece < end; piece += piece_bytes) {
    uintptr_t piece_end = end - piece > piece_bytes ? piece + piece_bytes : end;
    if (!region->of_file && !hatchery_freeze_note_range(piece, piece_end)) return -EBUSY;
    int error = move_piece(work, region, piece, piece_end);
    if (error != 0) return error;
  }
  work->result->mappings++;
  return 0;
}

// Memory that was never written, or holds zeros only, becomes as new: a clone then has nothing to copy there either.
static int renew(const struct region *region, uintptr_t start, uintptr_t end) {
  if (start >= end || region->of_file) return 0;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (region->no_reserve ? MAP_NORESERVE : 0);
  if (mmap((void *)start, end - start, region->protection, flags, -1, 0) == MAP_FAILED) return -errno;
  if (region->huge) madvise((void *)start, end - start, MADV_HUGEPAGE);
  if (region->no_huge) madvise((void *)start, end - start, MADV_NOHUGEPAGE);
  return 0;
}

static bool is_zero(uintptr_t page) {
  const uint64_t *words = (const uint64_t *)page;
  for (size_t i = 0; i < page_bytes / sizeof *words; i++)
    if (words[i] != 0) return false;
  return true;
}

// Where an allocation of glibc with a mapping of its own begins, its size, else 0. Its header lies at the beginning of a page:
// a zero, then the size with bit 1 set alone (malloc/malloc.c, IS_MMAPPED).
//
// realloc() grows such an allocation with mremap(). On the memfd that would not add fresh memory but whatever follows in
// the file, or nothing where it ends (SIGBUS). mremap refuses a range of two mappings (EFAULT), and realloc then allocates and copies:
// so the first page is kept apart from the rest, by a page's distance in the file.
static size_t own_mapping(const struct region *region, uintptr_t page) {
  if (region->of_file || region->protection != (PROT_READ | PROT_WRITE)) return 0;
  const uint64_t *header = (const uint64_t *)page;
  uint64_t size = header[1] & ~7ULL;
  if (header[0] != 0 || (header[1] & 7) != 2 || size < smallest_own_mapping) return 0;
  return size % page_bytes == 0 && size <= region->end - page ? size : 0;
}

struct run {
  uintptr_t start, end;    // what is to be moved, with small gaps
  uintptr_t done;          // everything below is dealt with
};

static int finish_run(struct workspace *work, const struct region *region, struct run *run) {
  int error = 0;
  if (run->start < run->end) {
    error = renew(region, run->done, run->start);
    if (error == 0) error = move_run(work, region, run->start, run->end);
    run->done = run->end;
  }
  run->start = run->end = 0;
  return error;
}

static int move_region(struct workspace *work, const struct region *region) {
  struct run run = {0, 0, region->start};
  uintptr_t own_end = 0;
  int error = 0;
  for (uintptr_t page = region->start; page < region->end && error == 0; page += page_bytes) {
    size_t index = (page - region->start) / page_bytes % pagemap_entries;
    if (index == 0) {
      size_t wanted = (region->end - page) / page_bytes;
      if (wanted > pagemap_entries) wanted = pagemap_entries;
      ssize_t length = pread(work->pagemap, work->entries, wanted * 8, (off_t)(page / page_bytes * 8));
      if (length != (ssize_t)(wanted * 8)) return length < 0 ? -errno : -EIO;
      for (size_t i = 0; i < wanted; i++)
        if (work->entries[i] & entry_guard) return -EBUSY;
    }
    if ((page >= work->kept_start && page < work->kept_end) || (page >= work->notes_start && page < work->notes_end)) {
      error = finish_run(work, region, &run);
      if (error == 0) error = renew(region, run.done, page);
      run.done = page + page_bytes;
      continue;
    }
    uint64_t entry = work->entries[index];
    bool written = (entry & (entry_present | entry_swapped)) && !(entry & entry_of_file);
    if (!written || (!region->of_file && (entry & entry_present) && is_zero(page))) continue;
    size_t own = page >= own_end && work->splits < most_splits ? own_mapping(region, page) : 0;
    if (run.end != 0 && page - run.end > gap_pages * page_bytes) error = finish_run(work, region, &run);
    if (run.end == 0) {
      // What lies between the last run and this one; near the beginning of the region it joins the run.
      bool near = run.done == region->start && page - run.done <= gap_pages * page_bytes && !own;
      run.start = near ? run.done : page;
    }
    run.end = page + page_bytes;
    if (own && error == 0) {
      own_end = page + own;
      work->splits++;
      error = finish_run(work, region, &run);
      if (error == 0) error = hatchery_freeze_append(work, work->zeros, page_bytes);
    }
  }
  if (error == 0 && run.end != 0 && region->end - run.end <= gap_pages * page_bytes) run.end = region->end;
  if (error == 0) error = finish_run(work, region, &run);
  if (error == 0) error = renew(region, run.done, region->end);
  return error;
}

static int move_readable_region(struct workspace *work, const struct region *region) {
  if (region->protection & PROT_READ) return move_region(work, region);
  // Taken away after it was written: readable for the copy, then as it was.
  size_t length = region->end - region->start;
  if (mprotect((void *)region->start, length, region->protection | PROT_READ) != 0) return -errno;
  int error = move_region(work, region);
  if (mprotect((void *)region->start, length, region->protection) != 0 && error == 0) error = -errno;
  return error;
}

// ---- The whole ----

// Where freezing fails, fewer and larger page table entries are the next best: they are copied, but 512 times fewer.
static void collapse(struct workspace *work) {
  const uintptr_t huge = 2 << 20;
  for (size_t i = 0; i < work->region_count; i++) {
    const struct region *region = &work->regions[i];
    uintptr_t start = (region->start + huge - 1) & ~(huge - 1), end = region->end & ~(huge - 1);
    if (region->of_file || !region->movable || region->anonymous_bytes < huge) continue;
    for (uintptr_t address = start; address < end; address += huge)
      if (madvise((void *)address, huge, MADV_COLLAPSE) == 0) work->result->collapsed_bytes += huge;
  }
}

static int fail(struct hatchery_freeze_result *result, const char *what, int error) {
  result->failed_call = what;
  result->error = -error;
  return error;
}

// SECURITY: F_SEAL_WRITE and the rest, for good. A child that got hold of the file all the same could not change what its
// siblings read. Tests/FreezeTests, test_no_child_can_write_to_the_memfd.
static int seal(int memory) {
  return fcntl(memory, hatchery_f_add_seals, hatchery_all_seals) < 0 ? -errno : 0;
}

static bool holds_stack(const struct region *region) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  return region->start <= here && here < region->end;
}

static int freeze(struct workspace *work) {
  struct hatchery_freeze_result *result = work->result;
  if (sysconf(_SC_PAGESIZE) != page_bytes) return fail(result, "pages that are not of 4 KiB", -ENOTSUP);
  // Before the list: it changes protections for a moment, and makes a mapping.
  int error = hatchery_freeze_prepare_madvise();
  if (error < 0) return fail(result, "redirection of madvise", error);
  hatchery_freeze_table(&work->notes_start, &work->notes_end);
  error = list_regions(work);
  if (error < 0) return fail(result, "read /proc/self/smaps", error);
  work->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (work->pagemap < 0) return fail(result, "open /proc/self/pagemap", -errno);
  work->memory = hatchery_memfd_create("hatchery-frozen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (work->memory < 0) return fail(result, "memfd_create", work->memory);

  // The smaller things first: where the memfd fails, the heap is told to be left out, and the libraries are as they were.
  hatchery_freeze_join_images(work);
  for (size_t i = 0; i < work->region_count; i++) {
    const struct region *region = &work->regions[i];
    // Without written pages a clone has nothing to copy.
    if (region->anonymous_bytes == 0) continue;
    uint64_t before = result->bytes;
    error = region->movable ? move_readable_region(work, region) : -EPERM;
    if (error == 0) continue;
    if (holds_stack(region)) continue;
    uint64_t moved = result->bytes - before;
    if (region->anonymous_bytes > moved) result->left_bytes += region->anonymous_bytes - moved;
    result->left_mappings++;
    if (work->left_flag[0] == 0) memcpy(work->left_flag, region->flag, sizeof work->left_flag);
    // What is special stays as it is. Anything else concerns the memfd, and would happen to the next region too.
    if (region->movable && error != -EBUSY && error != -EFAULT) {
      fail(result, "memfd", error);
      for (size_t rest = i + 1; rest < work->region_count; rest++) result->left_bytes += work->regions[rest].anonymous_bytes;
      break;
    }
  }
  // Before the first clone; the descriptor itself is closed then, too.
  error = seal(work->memory);
  if (error < 0) return fail(result, "fcntl(F_ADD_SEALS)", error);
  return -result->error;
}

// What lies below the stack pointer are frames of functions that returned, the deepest of them of the imports.
static void trim_stack(const struct workspace *work) {
  const uintptr_t margin = 16 << 10;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(page_bytes - 1);
  for (size_t i = 0; i < work->region_count; i++) {
    const struct region *region = &work->regions[i];
    if (!holds_stack(region) || here - region->start <= margin) continue;
    madvise((void *)region->start, here - margin - region->start, MADV_DONTNEED);
  }
}

// From glibc 2.35: where the kernel notes, whenever it moves the thread, the processor it runs on.
extern const ptrdiff_t __rseq_offset __attribute__((weak));

// The pages that change without a system call of the serve loop that is meant to write, or at each failing one: the thread's
// own block with rseq and the cached thread id, and errno.
static void keep_thread_pages(struct workspace *work) {
  const uintptr_t thread_block_bytes = 2304;  // struct pthread of glibc 2.36
  uintptr_t self = (uintptr_t)pthread_self();
  int *thread_id = NULL;
  uintptr_t places[] = {self, self + thread_block_bytes, (uintptr_t)&errno, 0, 0};
  if (prctl(PR_GET_TID_ADDRESS_NUMBER, &thread_id, 0, 0, 0) == 0) places[3] = (uintptr_t)thread_id;
  if (&__rseq_offset) places[4] = (uintptr_t)__builtin_thread_pointer() + (uintptr_t)__rseq_offset;
  work->kept_start = work->kept_end = self;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    if (places[i] == 0) continue;
    if (places[i] < work->kept_start) work->kept_start = places[i];
    if (places[i] >= work->kept_end) work->kept_end = places[i] + 1;
  }
  work->kept_start &= ~(uintptr_t)(page_bytes - 1);
  work->kept_end = (work->kept_end + page_bytes - 1) & ~(uintptr_t)(page_bytes - 1);
}

// snprintf into the caller's memory: it allocates nothing for such formats.
static void write_note(const struct workspace *work) {
  struct hatchery_freeze_result *result = work->result;
  size_t room = sizeof result->note, used = 0;
  unsigned long long left_kilobytes = result->left_bytes / 1024;
  if (result->error != 0) {
    const char *name = strerrorname_np(result->error), *text = strerrordesc_np(result->error);
    used += (size_t)snprintf(result->note, room, "%s frozen: %s: %s (%s), %llu KiB left out", result->bytes ? "partly" : "not",
                             result->failed_call, name ? name : "?", text ? text : "?", left_kilobytes);
    if (result->collapsed_bytes != 0 && used < room)
      snprintf(result->note + used, room - used, "; %llu KiB became huge pages instead",
               (unsigned long long)result->collapsed_bytes / 1024);
  } else if (result->left_bytes != 0) {
    snprintf(result->note, room, "%llu KiB in %u special mapping(s) left out%s%s", left_kilobytes, result->left_mappings,
             work->left_flag[0] ? ", the first for its VmFlags " : "", work->left_flag);
  }
}

int hatchery_freeze_heap(struct hatchery_freeze_result *result) {
  memset(result, 0, sizeof *result);
  struct workspace *work =
      mmap(NULL, sizeof *work, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (work == MAP_FAILED) {
    strcpy(result->note, "not frozen: no memory");
    return fail(result, "mmap", -errno);
  }
  work->result = result;
  work->memory = work->pagemap = -1;
  keep_thread_pages(work);

  sigset_t all, previous, size_signal;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &previous);
  // A limit of the preload's on the size of files counts for a memfd as well; only a hard one stands.
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY}, raised;
  getrlimit(RLIMIT_FSIZE, &limit);
  raised = limit;
  raised.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_FSIZE, &raised);

  int error = freeze(work);
  if (result->bytes == 0 && error != 0) collapse(work);
  trim_stack(work);
  write_note(work);

  setrlimit(RLIMIT_FSIZE, &limit);
  sigemptyset(&size_signal);
  sigaddset(&size_signal, SIGXFSZ);
  sigtimedwait(&size_signal, NULL, &(struct timespec){0, 0});
  sigprocmask(SIG_SETMASK, &previous, NULL);
  if (work->memory >= 0) close(work->memory);
  if (work->pagemap >= 0) close(work->pagemap);
  munmap(work, sizeof *work);
  return error;
}
