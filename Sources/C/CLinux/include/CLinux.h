// Door to Linux calls that Swift's Glibc module lacks: includes, and inline shims for macros and variadics. No policy.
#ifndef COVEY_CLINUX_H
#define COVEY_CLINUX_H

// Swift's Glibc module is built without _GNU_SOURCE. Types that look different with it must look here as they do there, or
// the compiler refuses to load both modules; so those come first, and only then are the GNU declarations switched on.
#include <sys/types.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/select.h>
#ifndef __USE_GNU
#define __USE_GNU 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#endif
