#include "CHatchery.h"

#include <stdio.h>
#include <stdlib.h>

// Looked up once, in the zygote, while /proc there is the whole one; children inherit the addresses.
static char *arguments_start, *arguments_end, *environment_start, *environment_end;

// Where the kernel recorded argv and environ at exec: fields 48 to 51 of /proc/self/stat (proc(5)).
static int look_up_areas(void) {
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  char text[2048];
  ssize_t length = read(fd, text, sizeof text - 1);
  int error = length < 0 ? -errno : 0;
  close(fd);
  if (error) return error;
  text[length] = 0;
  // The command name may hold anything, spaces and parentheses too: fields are counted from its last parenthesis.
  char *field = strrchr(text, ')');
  if (!field) return -EINVAL;
  field += 2;  // field 3
  for (int number = 3; number < 48; number++) {
    field = strchr(field, ' ');
    if (!field) return -EINVAL;
    field++;
  }
  unsigned long values[4];
  for (int i = 0; i < 4; i++) values[i] = strtoul(field, &field, 10);
  for (int i = 0; i < 4; i++)
    if (values[i] == 0) return -EPERM;  // the kernel hides them from a reader without the right to see them
  arguments_start = (char *)values[0];
  arguments_end = (char *)values[1];
  environment_start = (char *)values[2];
  environment_end = (char *)values[3];
  return 0;
}

size_t hatchery_process_title_area(char **start) {
  *start = arguments_start;
  return environment_end > arguments_start ? (size_t)(environment_end - arguments_start) : 0;
}

int hatchery_set_process_title(const char *title) {
  if (!arguments_start) {
    int result = look_up_areas();
    if (result < 0) return result;
  }
  if (title == NULL) return 0;
  size_t room = (size_t)(arguments_end - arguments_start);
  memset(arguments_start, 0, room);
  memset(environment_start, 0, (size_t)(environment_end - environment_start));
  // The environment follows the arguments. Where the last byte of the arguments is not zero, the kernel takes the title to
  // go on there (get_mm_cmdline() in fs/proc/base.c).
  if (environment_start == arguments_end) room = (size_t)(environment_end - arguments_start);
  if (room > 1) {
    size_t length = strlen(title);
    if (length > room - 1) length = room - 1;
    memcpy(arguments_start, title, length);
  }
  prctl(PR_SET_NAME, title, 0, 0, 0);
  return 0;
}
