// Disk operations of this process under one folder: counted, listed, and at a chosen one killed or made to fail.
// Loaded ahead of libc (LD_PRELOAD); does nothing until faults_arm is called.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum {KILL = 0, TEAR = -1};                    // otherwise an errno, from the chosen operation on
static char folder[PATH_MAX];
static long count, chosen;
static int act, list = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void faults_arm(const char *where, long at, int what, const char *listed) {
    list = listed ? REAL(open)(listed, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0644) : -1;
    count = 0;
    chosen = at;
    act = what;
    snprintf(folder, sizeof folder, "%s", where);
}

static int under(const char *path) { return *folder && !strncmp(path, folder, strlen(folder)); }

static void place_of_fd(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = 0;
}

static void place_of(int at, const char *path, char *out) {
    if (*path == '/') { snprintf(out, PATH_MAX, "%s", path); return; }
    if (at == AT_FDCWD) { if (!getcwd(out, PATH_MAX)) *out = 0; } else place_of_fd(at, out);
    size_t n = strlen(out);
    snprintf(out + n, PATH_MAX - n, "/%s", path);
}

// what an error can hit: a full disk lets names be removed and files be opened that are there
static int hits(const char *kind) {
    if (act != ENOSPC && act != EDQUOT) return 1;
    return strcmp(kind, "unlink") && strcmp(kind, "rmdir") && strcmp(kind, "rename") && strcmp(kind, "chmod");
}

// 1 where the operation is to fail with `act`; 2 where it is to be torn in half
static int happens(const char *kind, const char *path) {
    if (!under(path)) return 0;
    long n = __sync_add_and_fetch(&count, 1);
    if (list >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s\n", kind, path + strlen(folder));
        if (REAL(write)(list, line, length) < 0) return 0;
    }
    if (!chosen || n < chosen) return 0;
    if (act == TEAR && n == chosen) return 2;
    if (act <= 0) { raise(SIGKILL); return 0; }
    return hits(kind);
}

#define FAIL_AT(kind, at, path) do { char place[PATH_MAX]; place_of(at, path, place); \
    if (happens(kind, place)) { errno = act > 0 ? act : EIO; return -1; } } while (0)
#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)
#define OPENS(name, at, path, flags, call) do { \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
    } \
    if (((flags) & WRITES) && !((flags) & O_DIRECTORY)) FAIL_AT("open", at, path); \
    return call; } while (0)

int open(const char *p, int flags, ...) { OPENS(open, AT_FDCWD, p, flags, REAL(open)(p, flags, mode)); }
int open64(const char *p, int flags, ...) { OPENS(open64, AT_FDCWD, p, flags, REAL(open64)(p, flags, mode)); }
int openat(int at, const char *p, int flags, ...) { OPENS(openat, at, p, flags, REAL(openat)(at, p, flags, mode)); }
int openat64(int at, const char *p, int flags, ...) {
    OPENS(openat64, at, p, flags, REAL(openat64)(at, p, flags, mode));
}
int rename(const char *a, const char *b) { FAIL_AT("rename", AT_FDCWD, b); return REAL(rename)(a, b); }
int renameat(int x, const char *a, int y, const char *b) { FAIL_AT("rename", y, b); return REAL(renameat)(x, a, y, b); }
int renameat2(int x, const char *a, int y, const char *b, unsigned f) {
    FAIL_AT("rename", y, b);
    return REAL(renameat2)(x, a, y, b, f);
}
int unlink(const char *p) { FAIL_AT("unlink", AT_FDCWD, p); return REAL(unlink)(p); }
int unlinkat(int at, const char *p, int f) { FAIL_AT("unlink", at, p); return REAL(unlinkat)(at, p, f); }
int rmdir(const char *p) { FAIL_AT("rmdir", AT_FDCWD, p); return REAL(rmdir)(p); }
int mkdir(const char *p, mode_t m) { FAIL_AT("mkdir", AT_FDCWD, p); return REAL(mkdir)(p, m); }
int mkdirat(int at, const char *p, mode_t m) { FAIL_AT("mkdir", at, p); return REAL(mkdirat)(at, p, m); }
int link(const char *a, const char *b) { FAIL_AT("link", AT_FDCWD, b); return REAL(link)(a, b); }
int linkat(int x, const char *a, int y, const char *b, int f) {
    FAIL_AT("link", y, b);
    return REAL(linkat)(x, a, y, b, f);
}
int chmod(const char *p, mode_t m) { FAIL_AT("chmod", AT_FDCWD, p); return REAL(chmod)(p, m); }

static int at_fd(const char *kind, int fd) {
    char place[PATH_MAX];
    if (!*folder || fd == list) return 0;
    place_of_fd(fd, place);
    return happens(kind, place);
}

#define FAIL_FD(kind, fd) do { if (at_fd(kind, fd)) { errno = act > 0 ? act : EIO; return -1; } } while (0)
int fchmod(int fd, mode_t m) { FAIL_FD("chmod", fd); return REAL(fchmod)(fd, m); }
int fsync(int fd) { FAIL_FD("fsync", fd); return REAL(fsync)(fd); }
int fdatasync(int fd) { FAIL_FD("fsync", fd); return REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t n) { FAIL_FD("truncate", fd); return REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { FAIL_FD("truncate", fd); return REAL(ftruncate64)(fd, n); }
ssize_t writev(int fd, const struct iovec *v, int n) { FAIL_FD("writev", fd); return REAL(writev)(fd, v, n); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    FAIL_FD("write", fd);
    return REAL(pwrite64)(fd, b, n, o);
}
ssize_t sendfile64(int out, int in, off64_t *o, size_t n);
ssize_t sendfile64(int out, int in, off64_t *o, size_t n) {
    FAIL_FD("write", out);
    return REAL(sendfile64)(out, in, o, n);
}
ssize_t copy_file_range(int in, off64_t *o, int out, off64_t *p, size_t n, unsigned f) {
    FAIL_FD("write", out);
    return REAL(copy_file_range)(in, o, out, p, n, f);
}
ssize_t write(int fd, const void *bytes, size_t n) {
    int what = at_fd("write", fd);
    if (what == 1) { errno = act; return -1; }
    if (what == 2) { if (REAL(write)(fd, bytes, n/2) >= 0) raise(SIGKILL); }
    return REAL(write)(fd, bytes, n);
}
