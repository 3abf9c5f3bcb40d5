// Freezes the heap of this very process, and proves that nobody can tell: every readable private mapping reads the same
// before and after, and malloc, realloc and brk go on. Links Sources/CHatchery/freeze.c. Status 0, or a line that says
// what is wrong.
#include "CHatchery.h"
#include "freeze_madvise.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { most = 4096 };

struct note {
  uintptr_t start, end;
  uint64_t sum;
  bool readable;
};

static struct state {  // in a shared mapping: what is written here must not change what is summed up
  int count;
  struct note notes[most];
  char text[1 << 20];
} *state;

static uint64_t sum_of(uintptr_t start, uintptr_t end) {
  uint64_t sum = 1469598103934665603ULL;
  for (const uint64_t *word = (const uint64_t *)start; word < (const uint64_t *)end; word++) sum = (sum ^ *word) * 1099511628211ULL;
  return sum;
}

static void list_mappings(void) {
  int fd = open("/proc/self/maps", O_RDONLY);
  size_t length = 0;
  for (ssize_t part; (part = read(fd, state->text + length, sizeof state->text - 1 - length)) > 0;) length += (size_t)part;
  close(fd);
  state->text[length] = 0;
  for (char *line = state->text, *end; (end = strchr(line, '\n')); line = end + 1) {
    struct note *note = &state->notes[state->count];
    char protection[5];
    *end = 0;
    if (sscanf(line, "%lx-%lx %4s", &note->start, &note->end, protection) != 3 || protection[3] == 's') continue;
    if (strstr(line, "[v") || strstr(line, "[stack]")) continue;
    note->readable = protection[0] == 'r';
    state->count++;
  }
}

#define REQUIRE(condition)                                          \
  do {                                                              \
    if (!(condition)) {                                             \
      printf("line %d: not so: %s\n", __LINE__, #condition);        \
      exit(1);                                                      \
    }                                                               \
  } while (0)

static char written_data[64 << 10] = {1};
static char clean_data[1 << 20] = {1};
static char zeroed[1 << 20];

static void *map(size_t length, int protection) {
  void *mapping = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapping != MAP_FAILED);
  return mapping;
}

// Whether the mapping around an address is one of the frozen file that may be run and not written.
static bool is_joined(const void *address) {
  bool joined = false;
  FILE *maps = fopen("/proc/self/maps", "r");
  REQUIRE(maps);
  for (char line[512]; fgets(line, sizeof line, maps);) {
    uintptr_t start, end;
    char protection[5];
    if (sscanf(line, "%lx-%lx %4s", &start, &end, protection) != 3 || (uintptr_t)address < start || (uintptr_t)address >= end) continue;
    joined = strcmp(protection, "r-xp") == 0 && strstr(line, "memfd:hatchery-frozen");
  }
  fclose(maps);
  return joined;
}

int main(int count, char **arguments) {
  const size_t page = 4096;
  state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(count == 2);

  // Memory of every kind.
  char *small[4000], *large[12];
  for (int i = 0; i < 4000; i++) small[i] = memset(malloc(700), i, 700);
  for (int i = 0; i < 12; i++) large[i] = memset(malloc(300000 + 100000 * (size_t)i), i, 300000);
  char *sparse = map(8192 * page, PROT_READ | PROT_WRITE);
  for (size_t i = 0; i < 8192; i += i < 100 ? 3 : 97) sparse[i * page + 5] = (char)i;
  char *read_zero = map(4096 * page, PROT_READ | PROT_WRITE);
  for (size_t i = 0; i < 4096; i++) REQUIRE(*(volatile char *)(read_zero + i * page) == 0);
  char *read_only = map(64 * page, PROT_READ | PROT_WRITE);
  memset(read_only, 7, 64 * page);
  mprotect(read_only, 64 * page, PROT_READ);
  char *guarded = map(64 * page, PROT_READ | PROT_WRITE);
  memset(guarded, 9, 64 * page);
  mprotect(guarded, page, PROT_NONE);
  char *locked = map(4 * page, PROT_READ | PROT_WRITE);
  bool is_locked = mlock(locked, 4 * page) == 0;
  char *left_out = map(4 * page, PROT_READ | PROT_WRITE);
  memset(left_out, 3, 4 * page);
  madvise(left_out, 4 * page, MADV_DONTFORK);
  int self = open(arguments[1], O_RDONLY);
  char *file = mmap(NULL, 40 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, self, 0);
  REQUIRE(file != MAP_FAILED);
  for (int i = 0; i < 40; i += 19) file[(size_t)i * page] ^= 1;
  memset(written_data, 4, sizeof written_data);
  zeroed[page * 100] = 5;
  printf("%d", 1), fflush(stdout);  // stdio has its buffer now

  // What is meant to change changes first: the tables through which madvise() is called.
  uintptr_t notes, notes_end;
  REQUIRE(hatchery_freeze_prepare_madvise() == 0);
  hatchery_freeze_table(&notes, &notes_end);

  struct hatchery_freeze_result result;
  list_mappings();
  for (int i = 0; i < state->count; i++)
    if (state->notes[i].readable) state->notes[i].sum = sum_of(state->notes[i].start, state->notes[i].end);
  int error = hatchery_freeze_heap(&result);
  int differing = 0;
  for (int i = 0; i < state->count; i++) {
    struct note *note = &state->notes[i];
    // These stay and may change: the thread's own page, and the notes of what is frozen.
    bool own = (note->start <= (uintptr_t)pthread_self() && (uintptr_t)pthread_self() < note->end) ||
               (note->start <= notes && notes < note->end);
    if (note->readable && !own && sum_of(note->start, note->end) != note->sum) differing++;
  }
  REQUIRE(error == 0);
  REQUIRE(differing == 0);
  REQUIRE(result.bytes > 5 << 20);
  REQUIRE(result.mappings > 10);
  REQUIRE(result.left_mappings == 1u + is_locked);  // what is locked, and what a fork leaves out
  REQUIRE(strstr(result.note, "left out") != NULL);

  // libc's text, which has run all the while, and its constants.
  REQUIRE(is_joined((void *)(uintptr_t)&strtoull));
  REQUIRE(is_joined(strerrordesc_np(ENOENT)));

  // Holes cost nothing: 32 MiB and 16 MiB, of which next to nothing was written.
  REQUIRE(result.bytes < 24 << 20);
  // Protections are as before.
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  REQUIRE(read(open("/dev/zero", O_RDONLY), read_only, 1) == -1 && errno == EFAULT);
  REQUIRE(write(pipe_ends[1], guarded, 1) == -1 && errno == EFAULT);
  mprotect(guarded, page, PROT_READ);
  REQUIRE(guarded[0] == 9 && guarded[page - 1] == 9 && guarded[64 * page - 1] == 9);
  mprotect(read_only, 64 * page, PROT_READ | PROT_WRITE);
  read_only[5] = 8;
  REQUIRE(read_only[5] == 8 && read_only[6] == 7);

  // MADV_DONTNEED promises zeros, and frozen memory could not keep that. Anything else takes the advice as ever.
  REQUIRE(madvise(sparse + 3 * page, page, MADV_DONTNEED) == -1 && errno == EINVAL && sparse[3 * page + 5] == 3);
  REQUIRE(madvise(read_only, 2 * page, MADV_DONTNEED) == -1 && errno == EINVAL && read_only[5] == 8);
  char *fresh = map(2 * page, PROT_READ | PROT_WRITE);
  fresh[page] = 1;
  REQUIRE(madvise(fresh, 2 * page, MADV_DONTNEED) == 0 && fresh[page] == 0);
  char *other = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, self, 0);
  char first = other[0];
  other[0] ^= 1;
  REQUIRE(madvise(other, page, MADV_DONTNEED) == 0 && other[0] == first);

  // The allocator goes on: realloc moves what has a mapping of its own, brk grows and shrinks.
  for (int i = 0; i < 12; i++) {
    size_t bytes = 300000 + 100000 * (size_t)i;
    large[i] = realloc(large[i], bytes + (100 << 20));
    for (size_t k = 0; k < 300000; k++) REQUIRE(large[i][k] == (char)i);
    memset(large[i] + bytes, 1, 100 << 20);  // SIGBUS, if this were the file
  }
  void *before = sbrk(0);
  for (int i = 0; i < 4000; i++) {
    for (int k = 0; k < 700; k++) REQUIRE(small[i][k] == (char)i);
    small[i] = realloc(small[i], 20000);
    small[i][19999] = 1;
    REQUIRE(small[i][0] == (char)i && small[i][699] == (char)i);
  }
  REQUIRE((char *)sbrk(0) > (char *)before + (50 << 20));
  char *cleared = calloc(1, 90000);
  for (int k = 0; k < 90000; k++) REQUIRE(cleared[k] == 0);
  for (int i = 0; i < 4000; i++) free(small[i]);
  for (int i = 0; i < 12; i++) free(large[i]);
  for (int i = 0; i < 2000; i++) {
    char *again = calloc(1, 10000 + 100 * (size_t)i);
    for (size_t k = 0; k < 10000; k += 64) REQUIRE(again[k] == 0);
    if (i % 3 == 0) free(again);
  }
  REQUIRE(clean_data[0] == 1 && clean_data[sizeof clean_data - 1] == 0 && written_data[77] == 4 && zeroed[page * 100] == 5);
  puts(" ok");
  return 0;
}
