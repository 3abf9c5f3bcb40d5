#ifndef HATCHERY_FREEZE_WORKSPACE_H
#define HATCHERY_FREEZE_WORKSPACE_H

// Between freeze.c and freeze_images.c alone: the mappings of this process, and the memfd that they go to.

#include "CHatchery.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  page_bytes = 4096,
  most_regions = 65536,
  text_bytes = 64 << 10,
  pagemap_entries = 32 << 10,
};

struct region {
  uintptr_t start, end;
  int protection;
  uintptr_t inode;    // 0: anonymous
  bool of_file;       // a private file mapping: pages never written read as the file
  bool movable;       // nothing about it would be lost
  char flag[3];       // of VmFlags, why it is not
  bool no_reserve;    // MAP_NORESERVE
  bool huge, no_huge; // madvise(MADV_HUGEPAGE), (MADV_NOHUGEPAGE)
  uint64_t anonymous_bytes;
};

// All that this code writes, beside its stack: a shared mapping, so that it is never joined with one that is moved.
struct workspace {
  struct hatchery_freeze_result *result;
  int memory;
  int pagemap;
  uint64_t file_bytes;
  int splits;
  char left_flag[3];
  // Pages that stay as they are: the thread's own, and the notes of freeze_madvise.c, which are written meanwhile.
  uintptr_t kept_start, kept_end;
  uintptr_t notes_start, notes_end;
  size_t region_count;
  struct region regions[most_regions];
  uint64_t entries[pagemap_entries];
  char text[text_bytes];
  char zeros[page_bytes];
};

/// Appends bytes to the memfd. 0 or -errno.
int hatchery_freeze_append(struct workspace *work, const void *bytes, size_t length);

/// Makes the memfd end at `offset` again.
void hatchery_freeze_cut(struct workspace *work, uint64_t offset);

/// Whether the memfd may be mapped so (a security module, RLIMIT_AS, vm.max_map_count). Tried elsewhere, where a refusal costs nothing:
/// mmap(MAP_FIXED) takes the old mapping away before it knows. 0 or -errno.
int hatchery_freeze_try_mapping(const struct workspace *work, size_t length, int protection);

/// Maps the end of the memfd, from `offset` on, over what was copied to it. Ends the process where the old mapping is gone and the new
/// one is not there. 0 or -errno.
int hatchery_freeze_replace(struct workspace *work, uintptr_t start, uintptr_t end, int protection, int flags, uint64_t offset);

/// Joins the read-only parts of each library to one mapping (freeze_images.c).
void hatchery_freeze_join_images(struct workspace *work);

#endif
