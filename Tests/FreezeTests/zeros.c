// Run with jemalloc in the place of malloc: memory that was written, frozen and given back must be zero when calloc hands
// it out again. jemalloc zeroes with MADV_DONTNEED.
#include "CHatchery.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { pieces = 64, bytes = 1 << 20 };

int main(void) {
  char *piece[pieces];
  for (int i = 0; i < pieces; i++) piece[i] = memset(malloc(bytes), 7, bytes);
  struct hatchery_freeze_result result;
  if (hatchery_freeze_heap(&result) != 0 || result.bytes < pieces * (uint64_t)bytes) return 1;
  for (int i = 0; i < pieces; i++) free(piece[i]);
  int wrong = 0;
  for (int i = 0; i < pieces; i++) {
    piece[i] = calloc(1, bytes);
    bool zero = true;
    for (int k = 0; k < bytes; k++) zero = zero && piece[i][k] == 0;
    wrong += !zero;
  }
  printf("%d of %d not zero\n", wrong, pieces);
  return 0;
}
