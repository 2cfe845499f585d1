/* The counter behind CRASH_POINT; compiled in only with -DCRASH_POINTS. */
#include "crash.h"

#ifdef CRASH_POINTS
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct crash {
    uint64_t reached; /* points passed so far */
    uint64_t at;      /* the point that kills, 0 = none */
    char name[64];    /* of the last one reached */
};

__attribute__((visibility("default"))) struct crash *crash; /* set by the test: memory that outlives the process */

void crash_point(const char *name) {
    if (!crash)
        return;
    strncpy(crash->name, name, sizeof crash->name - 1);
    if (++crash->reached == crash->at)
        kill(getpid(), SIGKILL);
}
#else
typedef int crash_points_are_off;
#endif
