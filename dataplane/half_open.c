/* Connections in SYN-RECEIVED, oldest first, so that a flood of SYNs pushes out its own oldest: a doubly linked list
 * through the records, where the application's state will be once on_open has cleared it. Who goes on leaves it at
 * once, so each step costs the same however many there are. Ends are process-local: adoption links anew, by index.
 * Owned by the core. */
#include <string.h>

#include "stats.h"
#include "tcp_inside.h"

struct link {
    uint32_t older, newer; /* record indexes, 0 = none */
};

_Static_assert(sizeof(struct link) <= RECORD_STATE_BYTES, "it lies where the application's state will be");

static struct link *link_of(const struct core *core, uint32_t index) {
    return (void *)core->records[index].application;
}

void half_open_add(struct core *core, uint32_t index) {
    struct tcp *tcp = tcp_of(core);
    *link_of(core, index) = (struct link){.older = tcp->half_open_newest};
    if (tcp->half_open_newest) {
        link_of(core, tcp->half_open_newest)->newer = index;
    } else {
        tcp->half_open_oldest = index;
    }
    tcp->half_open_newest = index;
    core->state->half_open++;
}

void half_open_leave(struct core *core, uint32_t index) {
    struct tcp *tcp = tcp_of(core);
    struct link link = *link_of(core, index);
    *(link.older ? &link_of(core, link.older)->newer : &tcp->half_open_oldest) = link.newer;
    *(link.newer ? &link_of(core, link.newer)->older : &tcp->half_open_newest) = link.older;
    core->state->half_open--;
}

int half_open_evict(struct core *core) {
    uint32_t oldest = tcp_of(core)->half_open_oldest;
    if (!oldest) {
        return 0;
    }
    core->counters[COUNTER_HALF_OPEN_EVICTED]++;
    close_finish(core, oldest, CLOSE_TIMEOUT);
    return 1;
}

void half_open_recover(struct core *core) {
    core->state->half_open = 0;
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        if (core->records[index].state == STATE_SYN_RECEIVED) {
            half_open_add(core, index);
        }
    }
}
