/* Hands frames round the cores of a group over the mesh. Owned by the core. Knows frames and rings, no connection. */
#include "handover.h"

#include "ring_cell.h"
#include "stats.h"
#include "tcp_inside.h"
#include "time_wait.h"

int handover_frame(struct core *core, const uint8_t *frame, uint32_t hops) {
    struct ring *ring = hops ? core->to[core->group_next] : NULL;
    if (!ring) {
        return 0;
    }
    struct ring_message message = {
        .kind = MESSAGE_EVENT,
        .type = EVENT_FRAME,
        .target = (uint8_t)hops,
        .length = (uint16_t)(ETHERNET_HEADER + wire_get16(frame + ETHERNET_HEADER + IP_TOTAL)),
    };
    core->counters[ring_put(ring, &message, frame) == 1 ? COUNTER_HANDED_ON : COUNTER_DROP_HANDOVER]++;
    return 1;
}

int handover_send(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment,
                  uint32_t hops) {
    int opens = (segment->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
    if (opens || time_wait_find(core, flow, hash)) {
        return 0;
    }
    return handover_frame(core, segment->source - ETHERNET_SOURCE, hops);
}

void handover_receive(struct core *core, const uint8_t *frame, uint32_t length, uint32_t hops) {
    if (!core->nic || hops == 0) {
        return;
    }
    core->counters[COUNTER_HANDED_IN]++;
    input_handed(core, frame, length, hops - 1);
}
