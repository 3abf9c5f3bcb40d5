// A library is five mappings: headers, text, rodata, relocated pages, data. A clone and an exit pay for each mapping, whether its pages
// are copied or not, and a Python with pandas has a hundred libraries. Of a smaller library all that is not written goes into the memfd, too, as one mapping
// that may be read and run. Docs/Decisions/0027-joined-images.md has the figures, and says why rodata may be run.
//
// This replaces the text that runs here: one system call, and what it returns to has the same bytes.

#include "freeze_workspace.h"

enum {
  // A larger one is worth its three mappings less than its copy in memory: openblas alone has 36 MB.
  largest_image = 4 << 20,
};

static bool is_part(const struct region *region) {
  return region->movable && region->of_file && (region->protection & PROT_READ) && !(region->protection & PROT_WRITE);
}

// The first region after `first` that does not belong to the same image.
static size_t image_end(const struct workspace *work, size_t first) {
  size_t next = first + 1;
  for (; next < work->region_count; next++) {
    const struct region *region = &work->regions[next];
    if (!is_part(region) || region->inode != work->regions[first].inode || region->start != region[-1].end) break;
  }
  return next;
}

static int join(struct workspace *work, size_t first, size_t end) {
  const int protection = PROT_READ | PROT_EXEC;
  uintptr_t start = work->regions[first].start;
  size_t length = work->regions[end - 1].end - start;
  int error = hatchery_freeze_try_mapping(work, length, protection);
  if (error != 0) return error;
  uint64_t offset = work->file_bytes;
  error = hatchery_freeze_append(work, (const void *)start, length);
  if (error != 0) {
    hatchery_freeze_cut(work, offset);
    return error;
  }
  error = hatchery_freeze_replace(work, start, start + length, protection, 0, offset);
  if (error != 0) return error;
  work->result->mappings++;
  for (size_t i = first; i < end; i++) work->regions[i].anonymous_bytes = 0;
  return 0;
}

void hatchery_freeze_join_images(struct workspace *work) {
  for (size_t first = 0, end; first < work->region_count; first = end) {
    end = first + 1;
    if (!is_part(&work->regions[first])) continue;
    end = image_end(work, first);
    bool runs = false;
    for (size_t i = first; i < end; i++) runs |= (work->regions[i].protection & PROT_EXEC) != 0;
    size_t length = work->regions[end - 1].end - work->regions[first].start;
    if (!runs || end - first < 3 || length > largest_image) continue;
    // A library that stays as it is costs a child time and nothing else. What fails for one fails for the next, but for a file that
    // was cut off (EFAULT).
    int error = join(work, first, end);
    if (error != 0 && error != -EFAULT) return;
  }
}
