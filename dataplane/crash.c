/* The counter behind CRASH_POINT; compiled in only with -DCRASH_POINTS. */
#include "crash.h"

#ifdef CRASH_POINTS
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct crash {
    uint64_t reached; /* points passed so far */
    uint64_t at;      /* the point that kills, 0 = none */
    char name[64];    /* of the last one reached */
    char killed[48];  /* of the one that killed */
};

__attribute__((visibility("default"))) struct crash *crash; /* set by the test: memory that outlives the process */

/* A worker has it in the file that its environment names. */
__attribute__((constructor)) static void crash_open(void) {
    const char *path = getenv("CRASH_POINTS");
    int descriptor = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return;
    void *memory = mmap(NULL, sizeof *crash, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (memory != MAP_FAILED)
        crash = memory;
}

void crash_point(const char *name) {
    if (!crash)
        return;
    strncpy(crash->name, name, sizeof crash->name - 1);
    if (++crash->reached != crash->at)
        return;
    strncpy(crash->killed, name, sizeof crash->killed - 1);
    kill(getpid(), SIGKILL);
}
#else
typedef int crash_points_are_off;
#endif
