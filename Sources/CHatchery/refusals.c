// Refused system calls as a filter's listener tells them: seccomp(2), SECCOMP_RET_USER_NOTIF; seccomp_unotify(2).

#include "CHatchery.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

/// What the filter answers to a call. The kernel has checked the program when it was loaded (bpf_check_classic), so every jump
/// stays inside; what a check here would refuse all the same is answered with EPERM.
static uint32_t run(const struct sock_filter *program, size_t count, const struct seccomp_data *data) {
  uint32_t accumulator = 0;
  for (size_t at = 0; at < count; at++) {
    const struct sock_filter *i = &program[at];
    switch (i->code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (i->k > sizeof *data - 4) return EPERM;
        memcpy(&accumulator, (const char *)data + i->k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= i->k; break;
      case BPF_JMP | BPF_JA: at += i->k; break;
      case BPF_JMP | BPF_JEQ | BPF_K: at += accumulator == i->k ? i->jt : i->jf; break;
      case BPF_JMP | BPF_JGT | BPF_K: at += accumulator > i->k ? i->jt : i->jf; break;
      case BPF_JMP | BPF_JGE | BPF_K: at += accumulator >= i->k ? i->jt : i->jf; break;
      case BPF_JMP | BPF_JSET | BPF_K: at += (accumulator & i->k) ? i->jt : i->jf; break;
      case BPF_RET | BPF_K: return i->k;
      default: return EPERM;
    }
  }
  return EPERM;
}

int hatchery_refusal_take(int listener, const void *program, size_t count, struct hatchery_refusal *refusal) {
  // Room beyond today's structure: a later kernel's may be longer. It must be zero on entry.
  union {
    struct seccomp_notif notification;
    char room[512];
  } buffer;
  memset(&buffer, 0, sizeof buffer);
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &buffer.notification) != 0) return -errno;
  refusal->id = buffer.notification.id;
  refusal->syscall = (uint32_t)buffer.notification.data.nr;
  refusal->error = (int32_t)(run(program, count, &buffer.notification.data) & SECCOMP_RET_DATA);
  return 0;
}

int hatchery_refusal_answer(int listener, const struct hatchery_refusal *refusal) {
  union {
    struct seccomp_notif_resp answer;
    char room[256];
  } buffer;
  memset(&buffer, 0, sizeof buffer);
  buffer.answer.id = refusal->id;
  if (refusal->error == 0)
    buffer.answer.flags = 1;  // SECCOMP_USER_NOTIF_FLAG_CONTINUE
  else
    buffer.answer.error = -refusal->error;
  HATCHERY_NEGATIVE_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &buffer.answer));
}
