/* One way of keeping a deadline for each of many records, as timers.c drives it. Ticks are milliseconds of a clock that
 * the driver sets. A record says which tick it is to fire at, so that one too early or too late is noticed. */
#pragma once

#include <stdint.h>

enum { POLL_BUDGET = 15 }; /* deadlines that may run out in one poll of those who can stop */

struct candidate {
    const char *name;
    void (*open)(uint32_t count); /* records 1 .. count, none armed, at tick timers_now */
    void (*fetch)(uint32_t index);
    void (*arm)(uint32_t index, uint32_t deadline); /* anew, whether armed or not */
    void (*cancel)(uint32_t index);
    uint32_t (*poll)(uint32_t tick); /* entries looked at, at most about the budget; 0: nothing is due by that tick */
    int slow;                        /* 1: measured in the first round only, with a smaller sample */
};

extern const struct candidate timers_list, timers_heap, timers_dpdk; /* timers_peers.c */
extern uint32_t timers_now;
extern uint64_t timers_fired, timers_wrong;
