#ifndef HATCHERY_FREEZE_MADVISE_H
#define HATCHERY_FREEZE_MADVISE_H

#include <stdbool.h>
#include <stdint.h>

// Between freeze.c and freeze_madvise.c alone.

/// Redirects the calls of madvise() of all loaded objects. Before freezing. 0 or -errno.
int hatchery_freeze_prepare_madvise(void);

/// Notes that anonymous memory from `start` to `end` is frozen. False where there is no room.
bool hatchery_freeze_note_range(uintptr_t start, uintptr_t end);

/// Where those notes are: memory that stays as it is.
void hatchery_freeze_table(uintptr_t *start, uintptr_t *end);

#endif
