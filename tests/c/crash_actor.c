/* The callbacks of timer.c for tests/dataplane/test_crash.py: each noted in memory that outlives the process, counted
 * last. */
#include <stdint.h>

#include "../../dataplane/core.h"
#include "../../dataplane/crash.h"
#include "../../dataplane/transport.h"

struct noted {
    uint64_t count;
    struct {
        uint32_t index, which;
    } fired[4096];
};

__attribute__((visibility("default"))) struct noted *noted;

static void note(uint32_t index, uint32_t which) {
    noted->fired[noted->count].index = index;
    noted->fired[noted->count].which = which;
    STORES_STAY();
    noted->count++;
    STORES_STAY();
}

void actor_timer(struct core *core, uint32_t index) {
    (void)core;
    note(index, 1);
}

static void transport_timer(struct core *core, uint32_t index) {
    (void)core;
    note(index, 0);
}

static const struct transport transport = {.name = "noting", .timer = transport_timer};

__attribute__((visibility("default"))) void attach(struct core *core) {
    core->transport = &transport;
}
