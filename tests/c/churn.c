/* The life of many connections, driven from C so that nothing of Python is between: found, inserted, bytes kept and
 * sent, timers set and fired, deleted. Counts the page faults of a round. Knows the functions by address only. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include "../../dataplane/core.h"
#include "../../dataplane/record.h"
#include "../../dataplane/timer.h"

struct functions {
    void (*core_clock)(struct core *, int64_t);
    void (*table_find)(struct core *, const struct flow *, uint32_t *, uint32_t *, uint32_t);
    uint32_t (*table_insert)(struct core *, const struct flow *, uint32_t);
    void (*table_delete)(struct core *, uint32_t);
    int (*stream_send)(struct core *, uint32_t, const uint8_t *, uint32_t);
    void (*stream_acknowledge)(struct core *, uint32_t, uint32_t);
    int (*stream_keep)(struct core *, uint32_t, const uint8_t *, uint32_t);
    void (*timer_set)(struct core *, uint32_t, enum timer_which, uint32_t);
    uint32_t (*timer_poll)(struct core *, uint32_t);
};

enum { BURST = 32 };

static uint8_t data[4096];

static long faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static void burst(const struct functions *call, struct core *core, uint32_t seed) {
    struct flow flows[BURST];
    uint32_t hashes[BURST], index[BURST];
    for (uint32_t i = 0; i < BURST; i++)
        flows[i] = (struct flow){1, (seed * BURST + i) * 2654435761u % 4096, 80, 4};
    call->table_find(core, flows, hashes, index, BURST);
    for (uint32_t i = 0; i < BURST; i++) {
        if (index[i]) {
            call->stream_acknowledge(core, index[i], 100);
            call->table_delete(core, index[i]);
        } else if ((index[i] = call->table_insert(core, &flows[i], hashes[i]))) {
            core->records[index[i]].state = STATE_ESTABLISHED;
            call->stream_send(core, index[i], data, 100 + i * 100);
            call->stream_keep(core, index[i], data, 1 + i * 10);
            call->timer_set(core, index[i], TIMER_TRANSPORT, core->tick + 1 + i * i);
        }
    }
}

/* Page faults of that many bursts, a millisecond each. */
long churn(const struct functions *call, struct core *core, uint32_t bursts) {
    int64_t now = core->now;
    long before = faults();
    for (uint32_t i = 0; i < bursts; i++) {
        now += 1000000;
        call->core_clock(core, now);
        burst(call, core, i);
        while (call->timer_poll(core, TIMER_BUDGET))
            ;
    }
    return faults() - before;
}
