/* Preloaded into a test's process: lets the n-th write, fsync, truncation or rename below a directory fail.
 * A sync that does not fail does nothing: what another process or opening reads does not depend on it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char root[4096];
static long calls, fails_at;
static int code, for_ever, paused;

/* Calls are counted from now on; number `nth` fails with `error`, and all after it if `lasting`. 0: none fails. */
void faults_arm(const char *directory, long nth, int error, int lasting) {
    strncpy(root, directory, sizeof root - 1);
    calls = 0, fails_at = nth, code = error, for_ever = lasting;
}

void faults_pause(int pause) { paused = pause; }

long faults_calls(void) { return calls; }

static int fails(const char *path) {
    size_t length = strlen(root);
    if (paused || !length || strncmp(path, root, length)) return 0;
    calls++;
    if (!fails_at || !(calls == fails_at || (for_ever && calls > fails_at))) return 0;
    errno = code;
    return 1;
}

static int fails_on(int descriptor) {
    char link[64], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int f, const void *b, size_t n) { return fails_on(f) ? -1 : REAL(write)(f, b, n); }
ssize_t pwrite(int f, const void *b, size_t n, off_t o) { return fails_on(f) ? -1 : REAL(pwrite)(f, b, n, o); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) { return fails_on(f) ? -1 : REAL(pwrite64)(f, b, n, o); }
int fsync(int f) { return fails_on(f) ? -1 : 0; }
int fdatasync(int f) { return fails_on(f) ? -1 : 0; }
int ftruncate(int f, off_t n) { return fails_on(f) ? -1 : REAL(ftruncate)(f, n); }
int ftruncate64(int f, off64_t n) { return fails_on(f) ? -1 : REAL(ftruncate64)(f, n); }
int rename(const char *a, const char *b) { return fails(a) ? -1 : REAL(rename)(a, b); }
