// Stands in for libhatchery-python.so in the tests of zygote.py: the same two functions, a plain fork() instead of a sandbox.
// One request is one message: the child's stdin, stdout, stderr, its launch plan and its directory as descriptors.
// The answer is three numbers: what prepare returned, the wait status, and whether the zygote had one thread.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/syscall.h>
#include <unistd.h>

int hatchery_zygote_report_failure(int control, const char *message, size_t length) {
    return send(control, message, length, 0) == (ssize_t)length ? 0 : -1;
}

int hatchery_zygote_report_finding(int control, const char *message, size_t length) {
    (void)control, (void)message, (void)length;
    return 0;
}

size_t hatchery_zygote_audit(int control, char *buffer, size_t room) {
    (void)control, (void)buffer, (void)room;  // Tests/SecurityTests, with the real library
    return 0;
}

// As Sources/HatcheryPython/Surroundings.swift.
int hatchery_zygote_surroundings(int remember) {
    static struct stat zone;
    struct stat status;
    int result = 0;
    for (int stream = 0; stream < 3; stream++)
        if (fstat(stream, &status) == 0 && S_ISFIFO(status.st_mode)) result |= 1 << stream;
    if (fstat(0, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)) result |= 8;
    if (stat("/etc/localtime", &status) != 0) memset(&status, 0, sizeof status);
    if (remember) zone = status;
    if (zone.st_dev != status.st_dev || zone.st_ino != status.st_ino || zone.st_mtime != status.st_mtime) result |= 16;
    return result;
}

static int thread_count(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(directory));) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static int receive(int control, int descriptors[5]) {
    char byte, space[CMSG_SPACE(5 * sizeof(int))];
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(control, &message, 0) <= 0) return 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_len != CMSG_LEN(5 * sizeof(int))) return 0;
    memcpy(descriptors, CMSG_DATA(header), 5 * sizeof(int));
    return 1;
}

int hatchery_zygote_serve(int control, int (*prepare)(int), int (*run)(const void *, size_t), int freeze) {
    (void)freeze;  // Tests/FreezeTests, with the real library
    send(control, "ready", 5, 0);
    int descriptors[5];
    while (receive(control, descriptors)) {
        int prepared[2];
        if (pipe(prepared)) return 2;
        pid_t child = fork();
        if (child == 0) {
            int32_t result = prepare(1);
            if (write(prepared[1], &result, sizeof result) != sizeof result || result) _exit(99);
            struct stat status;
            fstat(descriptors[3], &status);
            char *plan = malloc(status.st_size + 1);
            if (pread(descriptors[3], plan, status.st_size, 0) != status.st_size || fchdir(descriptors[4])) _exit(98);
            for (int index = 0; index < 3; index++) dup2(descriptors[index], index);
            syscall(SYS_close_range, 3, ~0U, 0);
            _exit(run(plan, status.st_size));
        }
        int32_t answer[3] = {-1, 0, thread_count()};
        close(prepared[1]);
        for (int index = 0; index < 5; index++) close(descriptors[index]);
        if (read(prepared[0], &answer[0], 4) != 4) answer[0] = -1;
        close(prepared[0]);
        waitpid(child, &answer[1], 0);
        send(control, answer, sizeof answer, 0);
    }
    return 0;
}
