#include "CHatchery.h"

#include <linux/netlink.h>
#include <net/if.h>
#include <sys/sysmacros.h>

int hatchery_send_message(int socket, const void *bytes, size_t length, const int *fds, int fd_count, int flags) {
  if (fd_count < 0 || fd_count > HATCHERY_MAX_FDS) return -EINVAL;
  struct iovec part = {(void *)bytes, length};
  union {
    char space[CMSG_SPACE(sizeof(int) * HATCHERY_MAX_FDS)];
    struct cmsghdr align;
  } control;
  struct msghdr message = {0};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    size_t data_length = sizeof(int) * (size_t)fd_count;
    memset(&control, 0, CMSG_SPACE(data_length));
    message.msg_control = control.space;
    message.msg_controllen = CMSG_SPACE(data_length);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(data_length);
    memcpy(CMSG_DATA(header), fds, data_length);
  }
  for (;;) {
    ssize_t sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
    if (sent >= 0) return (int)sent;
    if (errno != EINTR) return -errno;
  }
}

int hatchery_receive_message(int socket, void *buffer, size_t capacity, int *fds, int *fd_count, int *message_flags,
                             int flags) {
  int room = *fd_count;
  if (room < 0 || room > HATCHERY_MAX_FDS) return -EINVAL;
  *fd_count = 0;
  struct iovec part = {buffer, capacity};
  union {
    char space[CMSG_SPACE(sizeof(int) * HATCHERY_MAX_FDS)];
    struct cmsghdr align;
  } control;
  struct msghdr message = {0};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (room > 0) {
    message.msg_control = control.space;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)room);
  }
  ssize_t received;
  do {
    received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  *message_flags = message.msg_flags;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + sizeof(int) * (size_t)i, sizeof fd);
      // CMSG_SPACE rounds up, so one descriptor more than the room may fit; it must not leak.
      if (*fd_count < room)
        fds[(*fd_count)++] = fd;
      else {
        close(fd);
        *message_flags |= MSG_CTRUNC;
      }
    }
  }
  return (int)received;
}

int hatchery_peer_credentials(int socket, struct hatchery_peer *peer) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -errno;
  peer->pid = credentials.pid;
  peer->uid = credentials.uid;
  peer->gid = credentials.gid;
  return 0;
}

int hatchery_peer_groups(int socket, uint32_t *groups, uint32_t *bytes) {
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
  socklen_t length = *bytes;
  int result = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
  *bytes = length;
  return result == 0 ? 0 : -errno;
}

int hatchery_interface_up(const char *name) {
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return -errno;
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  int result = ioctl(control, SIOCGIFFLAGS, &request);
  if (result == 0) {
    request.ifr_flags |= IFF_UP;
    result = ioctl(control, SIOCSIFFLAGS, &request);
  }
  int error = result < 0 ? -errno : 0;
  close(control);
  return error;
}

const char *hatchery_errno_name(int error) { return strerrorname_np(error); }

const char *hatchery_errno_text(int error) {
  const char *text = strerrordesc_np(error);
  return text ? text : "unknown error";
}

const char *hatchery_signal_name(int signal) { return sigabbrev_np(signal); }

int hatchery_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

int hatchery_accept(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

dev_t hatchery_makedev(unsigned major_number, unsigned minor_number) {
  return makedev(major_number, minor_number);
}

int hatchery_stat_cached(int fd, struct hatchery_cached_status *status) {
  struct statx result;
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MODE | STATX_INO, &result) != 0)
    return -errno;
  status->mode = result.stx_mode;
  status->device = (uint64_t)result.stx_dev_major << 32 | result.stx_dev_minor;
  status->inode = result.stx_ino;
  return 0;
}

int hatchery_netlink_bind(int socket, uint32_t groups) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
  return bind(socket, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}
