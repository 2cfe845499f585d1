/* The frames a turn sends: taken from the driver in bursts, filled one by one, handed over together.
 * Owned by the core. Knows no header. */
#include "stats.h"
#include "tcp_inside.h"

uint8_t *frame_more(struct core *core) {
    struct tcp *tcp = tcp_of(core);
    frames_flush(core);
    tcp->allocated = core->nic->driver->tx_alloc(core->nic, tcp->gathered, NIC_BURST);
    if (!tcp->allocated) {
        core->counters[COUNTER_TX_FULL]++;
        return NULL;
    }
    return tcp->gathered[tcp->filled].data;
}

void frame_put(struct core *core, uint32_t length) {
    struct tcp *tcp = tcp_of(core);
    tcp->gathered[tcp->filled++].length = length;
    core->counters[COUNTER_TX_FRAMES]++;
    core->counters[COUNTER_TX_BYTES] += length;
}

/* What was allocated but not filled stays ours for the next turn. */
void frames_flush(struct core *core) {
    struct tcp *tcp = tcp_of(core);
    if (!tcp->filled) {
        return;
    }
    core->nic->driver->tx_burst(core->nic, tcp->gathered, tcp->filled);
    tcp->allocated -= tcp->filled;
    memmove(tcp->gathered, tcp->gathered + tcp->filled, tcp->allocated * sizeof *tcp->gathered);
    tcp->filled = 0;
}
