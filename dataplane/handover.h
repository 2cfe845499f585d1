/* Frames at the wrong core: RSS or the sender moved a flow to another queue. The core that got the frame and knows no
 * connection for it hands it to the group's next core, and so on; the last one that doesn't know it either answers. */
#pragma once

#include <stdint.h>

struct core;
struct flow;
struct segment;

/* 1: the frame of this segment is on its way, or lost because the ring was full (counted); 0: answer it here.
 * hops: how many cores have not seen it yet. */
int handover_send(struct core *core, const struct flow *flow, uint32_t hash, const struct segment *segment,
                  uint32_t hops);
/* The same for a checked IPv4 frame of any kind; 0: there is no other core to ask. */
int handover_frame(struct core *core, const uint8_t *frame, uint32_t hops);
/* From the ring. */
void handover_receive(struct core *core, const uint8_t *frame, uint32_t length, uint32_t hops);
