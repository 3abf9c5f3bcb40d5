#include "probes.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

// Attempts to reach somebody else: sockets, System V and POSIX IPC. `...-offer` leaves something for others to find and
// `...-find` looks for it; offers are made with `here`.

static socklen_t unix_address(struct sockaddr_un *address, const char *name, int is_abstract) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  strncpy(address->sun_path + is_abstract, name, sizeof address->sun_path - 1 - (size_t)is_abstract);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)is_abstract + strlen(name));
}

static void unix_socket(char **a, int n, int is_abstract, int offers, int type) {
  if (n < 1) return;
  struct sockaddr_un address;
  socklen_t length = unix_address(&address, a[0], is_abstract);
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return probe_say_result(fd);
  if (!offers) {
    int result = connect(fd, (struct sockaddr *)&address, length), error = errno;
    close(fd);
    errno = error;
    return probe_say_result(result);
  }
  if (!is_abstract) unlink(a[0]);
  if (bind(fd, (struct sockaddr *)&address, length) < 0) return probe_say_result(-1);
  if (!is_abstract) chmod(a[0], 0777);
  probe_say_result(type == SOCK_DGRAM ? 0 : listen(fd, 5));
}

static void try_abstract_offer(char **a, int n) { unix_socket(a, n, 1, 1, SOCK_STREAM); }
static void try_abstract_find(char **a, int n) { unix_socket(a, n, 1, 0, SOCK_STREAM); }
static void try_socket_offer(char **a, int n) { unix_socket(a, n, 0, 1, SOCK_STREAM); }
static void try_socket_find(char **a, int n) { unix_socket(a, n, 0, 0, SOCK_STREAM); }
static void try_packets_find(char **a, int n) { unix_socket(a, n, 0, 0, SOCK_SEQPACKET); }

static int inet_address(struct sockaddr_storage *address, const char *text, int port, socklen_t *length) {
  memset(address, 0, sizeof *address);
  struct sockaddr_in *four = (struct sockaddr_in *)address;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    *length = sizeof *four;
    return 1;
  }
  if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1) return 0;
  six->sin6_family = AF_INET6;
  six->sin6_port = htons((uint16_t)port);
  *length = sizeof *six;
  return 1;
}

static void inet_socket(char **a, int n, int offers, int type) {
  struct sockaddr_storage address;
  socklen_t length;
  if (n < 2 || !inet_address(&address, a[0], (int)probe_number(a[1]), &length)) return;
  int fd = socket(address.ss_family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return probe_say_result(fd);
  struct timeval patience = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (offers) {
    if (bind(fd, (struct sockaddr *)&address, length) < 0) return probe_say_result(-1);
    return probe_say_result(type == SOCK_STREAM ? listen(fd, 5) : 0);
  }
  probe_say_result(connect(fd, (struct sockaddr *)&address, length));
}

static void try_inet_offer(char **a, int n) { inet_socket(a, n, 1, SOCK_STREAM); }
static void try_inet_find(char **a, int n) { inet_socket(a, n, 0, SOCK_STREAM); }
static void try_inet_send(char **a, int n) { inet_socket(a, n, 0, SOCK_DGRAM); }

// System V: KEY is a number
static void try_shm_offer(char **a, int n) {
  if (n < 1) return;
  int id = shmget((key_t)probe_number(a[0]), 4096, IPC_CREAT | 0666);
  probe_say_result(id);
}
static void try_shm_find(char **a, int n) {
  if (n >= 1) probe_say_result(shmget((key_t)probe_number(a[0]), 0, 0));
}
static void try_sem_offer(char **a, int n) {
  if (n >= 1) probe_say_result(semget((key_t)probe_number(a[0]), 1, IPC_CREAT | 0666));
}
static void try_sem_find(char **a, int n) {
  if (n >= 1) probe_say_result(semget((key_t)probe_number(a[0]), 0, 0));
}
static void try_msg_offer(char **a, int n) {
  if (n >= 1) probe_say_result(msgget((key_t)probe_number(a[0]), IPC_CREAT | 0666));
}
static void try_msg_find(char **a, int n) {
  if (n >= 1) probe_say_result(msgget((key_t)probe_number(a[0]), 0));
}

// POSIX message queues: NAME begins with /
static void try_mq_offer(char **a, int n) {
  struct mq_attr small = {.mq_maxmsg = 1, .mq_msgsize = 16};
  if (n >= 1) probe_say_result(mq_open(a[0], O_CREAT | O_RDWR, 0666, &small));
}
static void try_mq_find(char **a, int n) {
  if (n >= 1) probe_say_result(mq_open(a[0], O_RDONLY));
}

// key-offer NAME, key-find NAME: the keyring of the session and of the user
static void try_key_offer(char **a, int n) {
  if (n >= 1) probe_say_result(syscall(SYS_add_key, "user", a[0], "canary", 6, -4 /* KEY_SPEC_USER_KEYRING */));
}
static void try_key_find(char **a, int n) {
  if (n < 1) return;
  long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -4, "user", a[0], 0);
  probe_say_result(key < 0 ? syscall(SYS_request_key, "user", a[0], NULL, 0) : key);
}

// key-forget NAME: takes it out of the user's keyring again
static void try_key_forget(char **a, int n) {
  if (n < 1) return;
  long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -4, "user", a[0], 0);
  probe_say_result(key < 0 ? key : syscall(SYS_keyctl, 9 /* KEYCTL_UNLINK */, key, -4));
}

// forge: a message to whoever listens on any descriptor but the three streams, as an exit report would look
static void try_forge(char **a, int n) {
  (void)a, (void)n;
  int sent = 0;
  for (int fd = 3; fd < 1024; fd++)
    if (fcntl(fd, F_GETFD) >= 0 && send(fd, "\2\0\0\0\0\0\0\0", 8, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) sent++;
  probe_say("ok %d", sent);
}

const struct probe_attempt probe_channel_attempts[] = {
    {"abstract-offer", try_abstract_offer}, {"abstract-find", try_abstract_find},
    {"socket-offer", try_socket_offer}, {"socket-find", try_socket_find}, {"packets-find", try_packets_find},
    {"inet-offer", try_inet_offer}, {"inet-find", try_inet_find}, {"inet-send", try_inet_send},
    {"shm-offer", try_shm_offer}, {"shm-find", try_shm_find}, {"sem-offer", try_sem_offer},
    {"sem-find", try_sem_find}, {"msg-offer", try_msg_offer}, {"msg-find", try_msg_find},
    {"mq-offer", try_mq_offer}, {"mq-find", try_mq_find}, {"key-offer", try_key_offer}, {"key-find", try_key_find},
    {"key-forget", try_key_forget}, {"forge", try_forge}, {0},
};
