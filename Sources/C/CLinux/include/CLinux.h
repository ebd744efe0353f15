// Door to Linux calls that Swift's Glibc module lacks: headers it leaves out, and plain functions for what needs
// _GNU_SOURCE, is variadic or takes a union (defining _GNU_SOURCE here would change types that the Glibc module shares).
// No policy.
#ifndef COVEY_CLINUX_H
#define COVEY_CLINUX_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

struct sockaddr;

int covey_open(const char *path, int flags, unsigned mode);
int covey_accept(int listener);
int covey_bind(int descriptor, const void *address, unsigned length);
int covey_connect(int descriptor, const void *address, unsigned length);
int covey_socket_name(int descriptor, int of_peer, void *address, unsigned *length);
int covey_numeric_host(const void *address, unsigned length, char *host, unsigned size);
int covey_host_name(const void *address, unsigned length, char *host, unsigned size);
int covey_resolve(const char *name, int type, void *answer, int size);
int covey_thread_name(const char *name);
int covey_end_with_parent(int signal);
int covey_epoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t data);
uint64_t covey_event_data(const struct epoll_event *event);
uint32_t covey_event_bits(const struct epoll_event *event);

// Gives the blocks of a part of a file back to the file system; its length stays. 0, or errno.
int covey_punch_hole(int descriptor, int64_t offset, int64_t length);

// Whether writes to a file go past the page cache (O_DIRECT). 0, or errno.
int covey_bypass_cache(int descriptor, int bypass);

// Has the kernel begin to write what a file has in memory; does not wait. 0, or errno.
int covey_start_writeback(int descriptor);

// Whether the kernel says that a time service keeps the clock.
int covey_clock_is_synchronised(void);

// The magic number of the file system of a path; 0 when it cannot be told.
unsigned int covey_file_system(const char *path);

#endif
