#include <HatcheryProbes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// hatchery-probe: the program that `hatchery security-test` puts into sandboxes. Without arguments it serves attempts on its
// standard streams; `ids` is what a copy of it with a setuid bit or file capabilities is asked.
int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "ids") == 0) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {0};
    syscall(SYS_capget, &header, data);
    unsigned held = data[0].effective | data[1].effective | data[0].permitted | data[1].permitted;
    printf("uid %d euid %d held %x\n", (int)getuid(), (int)geteuid(), held);
    return 0;
  }
  return hatchery_probes_serve(STDIN_FILENO, STDOUT_FILENO);
}
