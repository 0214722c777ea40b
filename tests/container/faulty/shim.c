/* A broken machine for a whole process: preloaded, it stands between the container and the C library.
 *
 * The words of a shared file say what fails; `mod.rs` beside this file writes them. Only files below the data
 * folder are touched. Nothing of this is in the container. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SYNCS = 1, WRITES = 2, READS = 4, NAMES = 8 };

/* The order of `Word` in mod.rs. */
static struct control {
    volatile int64_t clock_ms, sync_ms, fails, with, per_mille, met, seed;
} none, *told = &none;

static __thread int64_t drawn;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) abort();
    void *shared = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    told = shared;
    close(file);
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int of_data(const char *path) { return strstr(path, "/data/") || strstr(path, "/data") == path + strlen(path) - 5; }

static int file_of_data(int file) {
    char name[32], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return of_data(path);
}

/* Whether this call is to fail; the seed, the thread and the count of its calls decide. */
static int due(int what) {
    if (!(told->fails & what)) return 0;
    uint64_t mixed = (uint64_t)(told->seed + ++drawn * 0x9e3779b97f4a7c15 + (intptr_t)&drawn);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed ^= mixed >> 31;
    return (int64_t)(mixed % 1000) < told->per_mille;
}

static int failed(void) {
    __sync_fetch_and_add(&told->met, 1);
    errno = (int)told->with;
    return -1;
}

static void wait_for_disk(int file) {
    if (!told->sync_ms || !file_of_data(file)) return;
    __sync_fetch_and_add(&told->met, 1);
    for (int64_t waited = 0; waited < told->sync_ms; waited += 10) usleep(10000);
}

int fsync(int file) {
    NEXT(fsync);
    wait_for_disk(file);
    return due(SYNCS) && file_of_data(file) ? failed() : next(file);
}

int fdatasync(int file) {
    NEXT(fdatasync);
    wait_for_disk(file);
    return due(SYNCS) && file_of_data(file) ? failed() : next(file);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    NEXT(pwrite64);
    return due(WRITES) && file_of_data(file) ? failed() : next(file, bytes, count, at);
}

ssize_t write(int file, const void *bytes, size_t count) {
    NEXT(write);
    return due(WRITES) && file_of_data(file) ? failed() : next(file, bytes, count);
}

ssize_t pread64(int file, void *bytes, size_t count, off64_t at) {
    NEXT(pread64);
    return due(READS) && file_of_data(file) ? failed() : next(file, bytes, count, at);
}

int ftruncate64(int file, off64_t length) {
    NEXT(ftruncate64);
    return due(WRITES) && file_of_data(file) ? failed() : next(file, length);
}

int fallocate(int file, int mode, off_t at, off_t length) {
    NEXT(fallocate);
    return due(WRITES) && file_of_data(file) ? failed() : next(file, mode, at, length);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    return due(NAMES) && of_data(to) ? failed() : next(from, to);
}

int unlink(const char *path) {
    NEXT(unlink);
    return due(NAMES) && of_data(path) ? failed() : next(path);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    return due(NAMES) && of_data(path) ? failed() : next(path, mode);
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
    return writes && due(NAMES) && of_data(path) ? failed() : next(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int done = next(clock, now);
    int64_t shift = told->clock_ms;
    if (done || !shift || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return done;
    int64_t nanos = now->tv_nsec + shift % 1000 * 1000000;
    now->tv_sec += shift / 1000 + (nanos >= 1000000000) - (nanos < 0);
    now->tv_nsec = nanos + (nanos < 0 ? 1000000000 : 0) - (nanos >= 1000000000 ? 1000000000 : 0);
    return 0;
}
