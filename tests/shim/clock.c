/* Preloaded into a gateway: gives it another wall clock. The file named by FIELDGATE_CLOCK holds two numbers: the seconds
 * by which its clock is ahead of the real one, and whether the kernel says that it is synchronised (1) or not (0). Only
 * CLOCK_REALTIME is another one: like a real step, it leaves CLOCK_MONOTONIC and CLOCK_BOOTTIME alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static void told(long long *ahead, int *synced) {
    const char *path = getenv("FIELDGATE_CLOCK");
    char text[64] = "";
    *ahead = 0;
    *synced = 0;
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    ssize_t got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (got > 0) sscanf(text, "%lld %d", ahead, synced);
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, id, time);
    if (result == 0 && id == CLOCK_REALTIME) {
        long long ahead;
        int synced;
        told(&ahead, &synced);
        time->tv_sec += ahead;
    }
    return result;
}

int adjtimex(struct timex *buf) {
    long long ahead;
    int synced;
    memset(buf, 0, sizeof *buf);
    told(&ahead, &synced);
    return synced ? TIME_OK : TIME_ERROR;
}
