// MADV_DONTNEED promises zeros on anonymous memory; on the frozen heap it would bring back what was frozen. jemalloc (pyarrow,
// Rust extensions) zeroes large allocations that way, and no setting of it stops that everywhere. So the calls of
// madvise() that the loaded objects make come here, and on frozen memory the advice is refused: EINVAL, as the kernel itself
// refuses MADV_FREE on a file. Every allocator has an answer to that: jemalloc then writes the zeros.
//
// libc's own calls do not come here: its malloc counts on no zeros (malloc_trim and the arenas' heaps, glibc 2.36).

#include "CHatchery.h"

#include "freeze_madvise.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>

#if defined(__x86_64__)
enum { jump_slot = R_X86_64_JUMP_SLOT, global_data = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { jump_slot = R_AARCH64_JUMP_SLOT, global_data = R_AARCH64_GLOB_DAT };
#else
enum { jump_slot = -1, global_data = -1 };
#endif

enum { most_ranges = 4096 };

struct frozen_ranges {
  size_t count;
  struct {
    uintptr_t start, end;
  } ranges[most_ranges];
};

// Written to before freezing; what it points to is written to after it, and is copied to children: two pages or so.
static struct frozen_ranges *frozen;

static int checked_madvise(void *address, size_t length, int advice) {
  uintptr_t start = (uintptr_t)address, end = start + length;
  if (advice == MADV_DONTNEED && frozen)
    for (size_t i = 0; i < frozen->count; i++)
      if (start < frozen->ranges[i].end && end > frozen->ranges[i].start) {
        errno = EINVAL;
        return -1;
      }
  return (int)syscall(SYS_madvise, address, length, advice);
}

static void redirect(uintptr_t *slot) {
  const uintptr_t page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
  void *page = (void *)((uintptr_t)slot & ~page_mask);
  // Relocated read-only pages hold the table where an object is bound at once; otherwise it is writable anyway.
  bool writable = mprotect(page, page_mask + 1, PROT_READ | PROT_WRITE) == 0;
  if (writable) *slot = (uintptr_t)checked_madvise;
}

static void protect_again(const struct dl_phdr_info *object) {
  const uintptr_t page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &object->dlpi_phdr[i];
    if (header->p_type != PT_GNU_RELRO) continue;
    // As ld.so does it: whole pages only.
    uintptr_t start = (object->dlpi_addr + header->p_vaddr) & ~page_mask;
    uintptr_t end = (object->dlpi_addr + header->p_vaddr + header->p_memsz) & ~page_mask;
    if (start < end) mprotect((void *)start, end - start, PROT_READ);
  }
}

static bool redirect_relocations(const struct dl_phdr_info *object, uintptr_t table, size_t bytes, const ElfW(Sym) * symbols,
                                 const char *names) {
  bool any = false;
  for (size_t i = 0; table && i < bytes / sizeof(ElfW(Rela)); i++) {
    const ElfW(Rela) *relocation = (const ElfW(Rela) *)table + i;
    int type = (int)ELF64_R_TYPE(relocation->r_info);
    if (type != jump_slot && type != global_data) continue;
    if (strcmp(names + symbols[ELF64_R_SYM(relocation->r_info)].st_name, "madvise") != 0) continue;
    redirect((uintptr_t *)(object->dlpi_addr + relocation->r_offset));
    any = true;
  }
  return any;
}

static int visit(struct dl_phdr_info *object, size_t size, void *context) {
  (void)size, (void)context;
  const ElfW(Dyn) *dynamic = NULL;
  for (int i = 0; i < object->dlpi_phnum; i++)
    if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
      dynamic = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
  // The vdso is no object of ld.so's, and its addresses are not relocated.
  if (!dynamic || strstr(object->dlpi_name, "vdso")) return 0;
  uintptr_t values[DT_JMPREL + 1] = {0};
  for (; dynamic->d_tag != DT_NULL; dynamic++)
    if (dynamic->d_tag > 0 && dynamic->d_tag <= DT_JMPREL) values[dynamic->d_tag] = dynamic->d_un.d_val;
  // ld.so has made addresses of the offsets, on these architectures.
  if (!values[DT_SYMTAB] || !values[DT_STRTAB] || values[DT_STRTAB] < object->dlpi_addr) return 0;
  const ElfW(Sym) *symbols = (const ElfW(Sym) *)values[DT_SYMTAB];
  const char *names = (const char *)values[DT_STRTAB];
  bool any = redirect_relocations(object, values[DT_RELA], values[DT_RELASZ], symbols, names);
  any |= redirect_relocations(object, values[DT_JMPREL], values[DT_PLTRELSZ], symbols, names);
  if (any) protect_again(object);
  return 0;
}

int hatchery_freeze_prepare_madvise(void) {
  if (jump_slot < 0) return -ENOTSUP;
  if (frozen) return 0;
  void *memory = mmap(NULL, sizeof *frozen, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  frozen = memory;
  dl_iterate_phdr(visit, NULL);
  return 0;
}

bool hatchery_freeze_note_range(uintptr_t start, uintptr_t end) {
  size_t count = frozen->count;
  if (count > 0 && frozen->ranges[count - 1].end == start) {
    frozen->ranges[count - 1].end = end;
    return true;
  }
  if (count == most_ranges) return false;
  frozen->ranges[count].start = start;
  frozen->ranges[count].end = end;
  frozen->count++;
  return true;
}

void hatchery_freeze_table(uintptr_t *start, uintptr_t *end) {
  *start = (uintptr_t)frozen;
  *end = (uintptr_t)(frozen + 1);
}
