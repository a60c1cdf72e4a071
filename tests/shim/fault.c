/* Preloaded into a gateway: makes its disk fail. The file named by FIELDGATE_FAULT holds the name of the fault while it
 * lasts; it strikes files whose path contains FIELDGATE_FAULT_PATH. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char *fault(char *word, size_t size) {
    const char *path = getenv("FIELDGATE_FAULT");
    static int (*real)(const char *, int, ...);
    static ssize_t (*real_read)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    if (!real_read) real_read = dlsym(RTLD_NEXT, "read");
    int fd = path ? real(path, O_RDONLY) : -1;
    if (fd < 0) return NULL;
    ssize_t got = real_read(fd, word, size - 1);
    close(fd);
    if (got <= 0) return NULL;
    word[got] = 0;
    return word;
}

static int strikes_path(const char *path) {
    const char *part = getenv("FIELDGATE_FAULT_PATH");
    return path && part && strstr(path, part) != NULL;
}

static int strikes(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return 0;
    path[len] = 0;
    return strikes_path(path);
}

/* The error number of the present fault, 0 for none; waits for ever where it is a hang. */
static int wrong(int hangs) {
    char word[32];
    const char *what = fault(word, sizeof word);
    if (!what) return 0;
    if (!strcmp(what, "full")) return ENOSPC;
    if (!strcmp(what, "broken")) return EIO;
    if (!strcmp(what, "read-only")) return EROFS;
    if (!strcmp(what, "hang") && hangs) for (;;) pause();
    return 0;
}

/* Whether this process is the child that looks at a generation. */
static int is_check(void) {
    static ssize_t (*real_read)(int, void *, size_t);
    static int (*real)(const char *, int, ...);
    if (!real_read) real_read = dlsym(RTLD_NEXT, "read");
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    char line[8192];
    int fd = real("/proc/self/cmdline", O_RDONLY);
    if (fd < 0) return 0;
    ssize_t got = real_read(fd, line, sizeof line);
    close(fd);
    return got > 0 && memmem(line, (size_t)got, "--generation", 12) != NULL;
}

/* Waits for ever in that child, where the fault is to hang the check. */
static void maybe_hang_check(void) {
    char word[32];
    const char *what = fault(word, sizeof word);
    if (what && !strcmp(what, "hang-check") && is_check()) for (;;) pause();
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    int error = strikes(fd) ? wrong(1) : 0;
    if (error) { errno = error; return -1; }
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    int error = strikes(fd) ? wrong(1) : 0;
    if (error) { errno = error; return -1; }
    return real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    int error = strikes(fd) ? wrong(0) : 0;
    if (error) { errno = error; return -1; }
    return real(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    int error = strikes(fd) ? wrong(0) : 0;
    if (error) { errno = error; return -1; }
    return real(fd, bytes, count);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (strikes_path(path)) maybe_hang_check();
    if (strikes_path(path) && (flags & O_ACCMODE) != O_RDONLY) {
        int error = wrong(0);
        if (error == EROFS || (error && (flags & O_CREAT) && access(path, F_OK) != 0)) { errno = error; return -1; }
    }
    return real(path, flags, mode);
}
