#include "probes.h"

#include <sys/prctl.h>

// Names for numbers. Of the younger calls the headers of an old distribution know nothing; their numbers are the same on
// every architecture.

#define NAMED(name) {#name, SYS_##name}

static const struct {
  const char *name;
  long number;
} calls[] = {
    NAMED(mount), NAMED(umount2), NAMED(pivot_root), NAMED(chroot), NAMED(unshare), NAMED(setns), NAMED(ptrace),
    NAMED(process_vm_readv), NAMED(process_vm_writev), NAMED(kcmp), NAMED(add_key), NAMED(request_key), NAMED(keyctl),
    NAMED(bpf), NAMED(perf_event_open), NAMED(userfaultfd), NAMED(personality), NAMED(prctl), NAMED(ioctl), NAMED(socket),
    NAMED(socketpair), NAMED(setuid), NAMED(setgid), NAMED(setresuid), NAMED(setgroups), NAMED(sethostname),
    NAMED(setdomainname), NAMED(reboot), NAMED(kexec_load), NAMED(init_module), NAMED(finit_module), NAMED(delete_module),
    NAMED(swapon), NAMED(swapoff), NAMED(acct), NAMED(quotactl), NAMED(syslog), NAMED(clock_settime), NAMED(settimeofday),
    NAMED(adjtimex), NAMED(clock_adjtime), NAMED(prlimit64), NAMED(migrate_pages), NAMED(move_pages), NAMED(vmsplice),
    NAMED(name_to_handle_at), NAMED(open_by_handle_at), NAMED(fanotify_init), NAMED(lookup_dcookie), NAMED(mknodat),
    NAMED(memfd_create), NAMED(execveat), NAMED(vhangup), NAMED(setpriority), NAMED(sched_setscheduler), NAMED(getpid),
    NAMED(io_setup), NAMED(mlockall), NAMED(kill), NAMED(nfsservctl), NAMED(remap_file_pages), NAMED(seccomp),
    NAMED(capset), NAMED(getppid), NAMED(setxattr), NAMED(fchmodat), NAMED(fchownat), NAMED(umask), NAMED(sync),
    NAMED(mincore), NAMED(madvise), NAMED(symlinkat), NAMED(linkat), NAMED(tkill),
    NAMED(fcntl), NAMED(setsockopt),
#ifdef SYS_modify_ldt
    NAMED(modify_ldt),
#endif
#ifdef SYS_iopl
    NAMED(iopl), NAMED(ioperm),
#endif
#ifdef SYS_kexec_file_load
    NAMED(kexec_file_load),
#endif
#ifdef SYS_uselib
    NAMED(uselib),
#endif
#ifdef SYS__sysctl
    NAMED(_sysctl),
#endif
#ifdef SYS_create_module
    NAMED(create_module),
#endif
#ifdef SYS_ustat
    NAMED(ustat), NAMED(sysfs),
#endif
    {"pidfd_send_signal", 424}, {"io_uring_setup", 425}, {"io_uring_enter", 426}, {"io_uring_register", 427},
    {"open_tree", 428}, {"move_mount", 429}, {"fsopen", 430}, {"fsconfig", 431}, {"fsmount", 432}, {"fspick", 433},
    {"pidfd_open", 434}, {"clone3", 435}, {"openat2", 437}, {"pidfd_getfd", 438}, {"process_madvise", 440},
    {"mount_setattr", 442}, {"quotactl_fd", 443}, {"landlock_create_ruleset", 444}, {"memfd_secret", 447},
    {"process_mrelease", 448}, {"cachestat", 451}, {"map_shadow_stack", 453}, {"statmount", 457}, {"listmount", 458},
    {"lsm_get_self_attr", 459}, {"open_tree_attr", 467},
};

long probe_syscall_number(const char *name) {
  if (!name) return -1;
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (strcmp(calls[i].name, name) == 0) return calls[i].number;
  char *end;
  long number = strtol(name, &end, 0);
  return *name && !*end ? number : -1;
}

const char *probe_errno_name(int error) {
  static char unknown[16];
  const char *name = strerrorname_np(error);
  if (name) return name;
  snprintf(unknown, sizeof unknown, "errno %d", error);
  return unknown;
}

void probe_kernel_has(char **arguments, int count) {
  long number = count > 0 ? probe_syscall_number(arguments[0]) : -1;
  if (number < 0) return probe_say("unsupported");
  // In a child: under an outer filter the answer may be a signal. -1 is no pointer, descriptor, flag or command that any call
  // accepts; calls that take no argument are never asked for.
  pid_t child = fork();
  if (child == 0) _exit(syscall(number, -1L, -1L, -1L, -1L, -1L, -1L) < 0 && errno == ENOSYS ? 1 : 0);
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  probe_say("%s", child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "ENOSYS" : "ok");
}
