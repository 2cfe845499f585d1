/* Connections in SYN-RECEIVED, oldest first, so that a flood of SYNs pushes out its own oldest. Process-local: adoption
 * rebuilds it. Entries of connections that have gone on are skipped when met. Owned by the core. */
#include "stats.h"
#include "table.h"
#include "tcp_inside.h"

static struct half_open *at(struct tcp *tcp, uint32_t place) {
    return &tcp->half_open[(tcp->half_open_head + place) % tcp->half_open_size];
}

static int still(const struct core *core, const struct half_open *entry) {
    const struct record *record = &core->records[entry->index];
    return record->generation == entry->generation && record->state == STATE_SYN_RECEIVED;
}

/* Twice as many places as half-open connections, so at least half of a full ring can be dropped here. */
static void squeeze(struct core *core) {
    struct tcp *tcp = tcp_of(core);
    uint32_t kept = 0;
    for (uint32_t place = 0; place < tcp->half_open_count; place++) {
        if (still(core, at(tcp, place))) {
            *at(tcp, kept++) = *at(tcp, place);
        }
    }
    tcp->half_open_count = kept;
}

void half_open_add(struct core *core, uint32_t index) {
    struct tcp *tcp = tcp_of(core);
    core->state->half_open++;
    if (tcp->half_open_count == tcp->half_open_size) {
        squeeze(core);
    }
    if (tcp->half_open_count < tcp->half_open_size) {
        *at(tcp, tcp->half_open_count++) = (struct half_open){index, core->records[index].generation};
    }
}

int half_open_evict(struct core *core) {
    struct tcp *tcp = tcp_of(core);
    while (tcp->half_open_count) {
        struct half_open oldest = *at(tcp, 0);
        tcp->half_open_head = (tcp->half_open_head + 1) % tcp->half_open_size;
        tcp->half_open_count--;
        if (still(core, &oldest)) {
            core->counters[COUNTER_HALF_OPEN_EVICTED]++;
            close_finish(core, oldest.index, CLOSE_TIMEOUT);
            return 1;
        }
    }
    return 0;
}

void half_open_recover(struct core *core) {
    core->state->half_open = 0;
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        if (core->records[index].state == STATE_SYN_RECEIVED) {
            half_open_add(core, index);
        }
    }
}
