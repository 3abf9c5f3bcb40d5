#ifndef PROBES_H
#define PROBES_H

#include "HatcheryProbes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/// One kind of attempt: a name and what it does. `arguments` ends with NULL.
struct probe_attempt {
  const char *name;
  void (*run)(char **arguments, int count);
};

/// Tables, each ended by an entry without a name.
extern const struct probe_attempt probe_file_attempts[];
extern const struct probe_attempt probe_kernel_attempts[];
extern const struct probe_attempt probe_process_attempts[];
extern const struct probe_attempt probe_channel_attempts[];
extern const struct probe_attempt probe_exhaustion_attempts[];

/// Sets the answer; control characters become '?'. A later call replaces it.
void probe_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// The answer for a system call's result: `ok N`, or the errno's name.
void probe_say_result(long result);
/// The answer for an errno, with how far things had got: `ENOSPC after 512`.
void probe_say_after(int error, long long count);

const char *probe_errno_name(int error);
/// The number of a system call: by name, or a number written out. -1 where it is not known.
long probe_syscall_number(const char *name);
/// kernel-has NAME: `ok`, or ENOSYS where the kernel does not know the call.
void probe_kernel_has(char **arguments, int count);
long long probe_number(const char *text);

#endif
