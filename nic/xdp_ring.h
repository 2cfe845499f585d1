/* The four rings' inner moves, and the two of frame ownership: take, give. Inline, on the owning core.
 * A frame in the worker's hands is marked before the ring lets go of it, and unmarked under the journal before the
 * ring gets it: whenever the worker dies, each frame is either marked, or in a ring, or in the journal. */
#pragma once

#include <linux/if_xdp.h>
#include "xdp_queue.h"

static inline uint32_t xdp_frame_of(uint64_t address) {
    return (uint32_t)(address / XDP_FRAME);
}

static inline uint64_t *xdp_address_at(const struct xdp_ring *ring, uint32_t at) {
    return (uint64_t *)ring->slots + (at & ring->mask);
}

static inline struct xdp_desc *xdp_desc_at(const struct xdp_ring *ring, uint32_t at) {
    return (struct xdp_desc *)ring->slots + (at & ring->mask);
}

/* Entries the kernel has produced for us. The acquire pairs with the kernel's release of the producer. */
static inline uint32_t xdp_ready(const struct xdp_ring *ring) {
    return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) - ring->at;
}

/* Entries the kernel has not consumed yet. The acquire pairs with its release of the consumer. */
static inline uint32_t xdp_waiting(const struct xdp_ring *ring) {
    return ring->at - __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
}

/* The marks are set: the ring lets the entries go. */
static inline void xdp_consumed(struct xdp_ring *ring, uint32_t count) {
    ring->at += count;
    __atomic_store_n(ring->consumer, ring->at, __ATOMIC_RELEASE);
}

static inline uint32_t xdp_slot_frame(const struct xdp_ring *ring, uint32_t which, uint32_t at) {
    return xdp_frame_of(which == XDP_SEND ? xdp_desc_at(ring, at)->addr : *xdp_address_at(ring, at));
}

/* `count` slots from ring->at are written: give their frames to the kernel. */
static inline void xdp_publish(struct xdp_queue *queue, struct xdp_ring *ring, uint32_t which, uint32_t count) {
    struct xdp_region *region = queue->region;
    region->journal_start = ring->at;
    region->journal_count = count;
    __atomic_store_n(&region->journal_ring, which, __ATOMIC_RELEASE); /* the journal is whole */
    for (uint32_t i = 0; i < count; i++) {
        region->owned[xdp_slot_frame(ring, which, ring->at + i)] = 0;
    }
    ring->at += count;
    __atomic_store_n(ring->producer, ring->at, __ATOMIC_RELEASE); /* pairs with the kernel's acquire */
    __atomic_store_n(&region->journal_ring, XDP_NO_RING, __ATOMIC_RELEASE);
}
