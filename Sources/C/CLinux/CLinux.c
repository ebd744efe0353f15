#define _GNU_SOURCE
#include <sys/timex.h>
#include <sys/vfs.h>
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <resolv.h>

int covey_open(const char *path, int flags, unsigned mode) { return open(path, flags | O_CLOEXEC, mode); }

int covey_accept(int listener) { return accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC); }

int covey_bind(int descriptor, const void *address, unsigned length) { return bind(descriptor, address, length); }

int covey_connect(int descriptor, const void *address, unsigned length) { return connect(descriptor, address, length); }

int covey_socket_name(int descriptor, int of_peer, void *address, unsigned *length) {
    return of_peer ? getpeername(descriptor, address, length) : getsockname(descriptor, address, length);
}

int covey_numeric_host(const void *address, unsigned length, char *host, unsigned size) {
    return getnameinfo(address, length, host, size, 0, 0, NI_NUMERICHOST);
}

int covey_host_name(const void *address, unsigned length, char *host, unsigned size) {
    return getnameinfo(address, length, host, size, 0, 0, NI_NAMEREQD);
}

int covey_thread_name(const char *name) { return pthread_setname_np(pthread_self(), name); }

int covey_end_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }

int covey_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data = {.u64 = data}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

uint64_t covey_event_data(const struct epoll_event *event) { return event->data.u64; }

uint32_t covey_event_bits(const struct epoll_event *event) { return event->events; }

int covey_resolve(const char *name, int type, void *answer, int size) {
    return res_query(name, 1 /* IN */, type, answer, size);
}

int covey_clock_is_synchronised(void) {
    struct timex state = {0};
    return adjtimex(&state) >= 0 && !(state.status & STA_UNSYNC);
}

unsigned int covey_file_system(const char *path) {
    struct statfs status;
    return statfs(path, &status) == 0 ? (unsigned int)status.f_type : 0;
}

int covey_bypass_cache(int descriptor, int bypass) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return errno;
    return fcntl(descriptor, F_SETFL, bypass ? flags | O_DIRECT : flags & ~O_DIRECT) == 0 ? 0 : errno;
}

int covey_start_writeback(int descriptor) {
    return sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
}

int covey_punch_hole(int descriptor, int64_t offset, int64_t length) {
    int result;
    do result = fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}
