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

/* Of push.c: what is done at the end of a turn, and to peers that don't read, isn't done here. */
void actor_pend(struct core *core, uint32_t index) {
    (void)core;
    (void)index;
}

void connection_abort(struct core *core, uint32_t index, int reason) {
    (void)core;
    (void)index;
    (void)reason;
}

void relief_want(struct core *core) {
    (void)core;
}

static const struct transport transport = {.name = "noting", .timer = transport_timer};

__attribute__((visibility("default"))) void attach(struct core *core) {
    core->transport = &transport;
}
