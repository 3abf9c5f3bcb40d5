#include "probes.h"

// The server: lines in, lines out. No stdio on the protocol's descriptors, so that a fork copies no buffer.

enum { LINE_BYTES = 16384, WORDS = 24, ATTEMPT_SECONDS = 20 };

static char answer[LINE_BYTES];

void probe_say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(answer, sizeof answer, format, arguments);
  va_end(arguments);
  for (char *c = answer; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

void probe_say_result(long result) {
  if (result < 0)
    probe_say("%s", probe_errno_name(errno));
  else
    probe_say("ok %ld", result);
}

void probe_say_after(int error, long long count) {
  probe_say("%s after %lld", error ? probe_errno_name(error) : "ok", count);
}

long long probe_number(const char *text) { return text ? strtoll(text, NULL, 0) : 0; }

static const struct probe_attempt *find(const char *name) {
  const struct probe_attempt *const tables[] = {probe_file_attempts, probe_kernel_attempts, probe_process_attempts,
                                                probe_channel_attempts, probe_exhaustion_attempts};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const struct probe_attempt *attempt = tables[i]; attempt->name; attempt++)
      if (strcmp(attempt->name, name) == 0) return attempt;
  return NULL;
}

static void write_all(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t written = write(fd, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes += written;
    count -= (size_t)written;
  }
}

static void attempt_here(char **words, int count) {
  const struct probe_attempt *attempt = find(words[0]);
  if (!attempt) {
    probe_say("unknown attempt");
    return;
  }
  strcpy(answer, "no answer");
  attempt->run(words + 1, count - 1);
}

// What the child exits with where its own number is among the arguments: it stands for somebody else there.
enum { OWN_NUMBER = 77 };

static void give_up_own_number(char **words, int count) {
  char own[16];
  snprintf(own, sizeof own, "%d", (int)getpid());
  for (int i = 1; i < count; i++)
    if (strcmp(words[i], own) == 0) _exit(OWN_NUMBER);
}

// In a child of its own: an attempt may be killed, or leave its process unusable.
static void attempt_forked(char **words, int count) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) {
    probe_say("pipe: %s", probe_errno_name(errno));
    return;
  }
  pid_t child = fork();
  if (child < 0) {
    probe_say("fork: %s", probe_errno_name(errno));
    close(ends[0]);
    close(ends[1]);
    return;
  }
  if (child == 0) {
    close(ends[0]);
    give_up_own_number(words, count);
    alarm(ATTEMPT_SECONDS);
    attempt_here(words, count);
    write_all(ends[1], answer, strlen(answer));
    _exit(0);
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t received;
  while (length < sizeof answer - 1) {
    received = read(ends[0], answer + length, sizeof answer - 1 - length);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) break;
    length += (size_t)received;
  }
  answer[length] = 0;
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (WIFEXITED(status) && WEXITSTATUS(status) == OWN_NUMBER) return attempt_forked(words, count);
  if (WIFSIGNALED(status) && length == 0) {
    const char *name = sigabbrev_np(WTERMSIG(status));
    probe_say("killed SIG%s", name ? name : "?");
  } else if (length == 0) {
    probe_say("ended without an answer, status %d", status);
  }
}

static void serve_line(char *line, int output) {
  char *words[WORDS + 1] = {0};
  int count = 0;
  for (char *rest = line, *word; count < WORDS && (word = strsep(&rest, " "));)
    if (*word) words[count++] = word;
  if (count < 2)
    probe_say("an attempt has a mode and a name");
  else if (strcmp(words[0], "here") == 0)
    attempt_here(words + 1, count - 1);
  else
    attempt_forked(words + 1, count - 1);
  size_t length = strlen(answer);
  answer[length] = '\n';
  write_all(output, answer, length + 1);
  answer[length] = 0;
}

int hatchery_probes_serve(int input, int output) {
  static char buffer[LINE_BYTES];
  size_t held = 0;
  while (held < sizeof buffer) {
    ssize_t received = read(input, buffer + held, sizeof buffer - held);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) break;
    held += (size_t)received;
    char *newline;
    while ((newline = memchr(buffer, '\n', held))) {
      *newline = 0;
      serve_line(buffer, output);
      held -= (size_t)(newline + 1 - buffer);
      memmove(buffer, newline + 1, held);
    }
  }
  return 0;
}
