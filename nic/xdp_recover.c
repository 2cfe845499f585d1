/* Who owns which frame after a worker was killed: the journal is rolled forward, the four rings are read at one moment,
 * what is marked and in no ring was the worker's. Runs once, before the loop; the kernel goes on meanwhile. */
#include <errno.h>
#include "xdp_ring.h"

enum { IN_FILL = 1, IN_RECEIVE = 2, IN_SEND = 4, IN_COMPLETION = 8, SNAPSHOTS = 100000 };

struct snapshot { /* what the kernel writes */
    uint32_t fill_consumer, receive_producer, send_consumer, completion_producer;
};

/* The dead worker had announced a publication: finish it. */
static int roll_journal(struct xdp_queue *queue) {
    struct xdp_region *region = queue->region;
    uint32_t which = __atomic_load_n(&region->journal_ring, __ATOMIC_ACQUIRE); /* pairs with xdp_publish */
    if (which == XDP_NO_RING) {
        return 0;
    }
    struct xdp_ring *ring = which == XDP_FILL ? &queue->fill : &queue->send;
    uint32_t start = region->journal_start, count = region->journal_count;
    if (which > XDP_SEND || count > ring->mask + 1 || (ring->at != start && ring->at != start + count)) {
        return -EBADMSG;
    }
    ring->at = start;
    xdp_publish(queue, ring, which, count);
    return 0;
}

static struct snapshot look(const struct xdp_queue *queue) {
    return (struct snapshot){
        .fill_consumer = __atomic_load_n(queue->fill.consumer, __ATOMIC_ACQUIRE),
        .receive_producer = __atomic_load_n(queue->receive.producer, __ATOMIC_ACQUIRE),
        .send_consumer = __atomic_load_n(queue->send.consumer, __ATOMIC_ACQUIRE),
        .completion_producer = __atomic_load_n(queue->completion.producer, __ATOMIC_ACQUIRE),
    };
}

/* The same twice in a row: the kernel moved no frame in between. */
static struct snapshot look_steady(const struct xdp_queue *queue) {
    struct snapshot first = look(queue);
    for (int i = 0; i < SNAPSHOTS; i++) {
        struct snapshot second = look(queue);
        if (first.fill_consumer == second.fill_consumer && first.receive_producer == second.receive_producer &&
            first.send_consumer == second.send_consumer && first.completion_producer == second.completion_producer) {
            break;
        }
        first = second;
    }
    return first;
}

static void mark(uint8_t *where, const struct xdp_region *region, const struct xdp_ring *ring, int is_desc,
                 uint32_t from, uint32_t to, uint8_t bit) {
    for (uint32_t at = from; at != to; at++) {
        uint32_t frame = xdp_frame_of(is_desc ? xdp_desc_at(ring, at)->addr : *xdp_address_at(ring, at));
        if (frame < region->frames) {
            where[frame] |= bit;
        }
    }
}

static void find_all(const struct xdp_queue *queue, uint8_t *where) {
    const struct xdp_region *region = queue->region;
    struct snapshot now = look_steady(queue);
    mark(where, region, &queue->fill, 0, now.fill_consumer, queue->fill.at, IN_FILL);
    mark(where, region, &queue->receive, 1, queue->receive.at, now.receive_producer, IN_RECEIVE);
    mark(where, region, &queue->send, 1, now.send_consumer, queue->send.at, IN_SEND);
    mark(where, region, &queue->completion, 0, queue->completion.at, now.completion_producer, IN_COMPLETION);
}

/* Entries still in a ring whose frames are marked were being claimed: nobody knows whether they were handled, and their
 * headers may be half rewritten. They count as the worker's. */
static uint32_t drop_claimed(struct xdp_queue *queue, struct xdp_ring *ring, int is_desc, uint8_t *where) {
    uint32_t ready = xdp_ready(ring), dropped = 0;
    while (dropped < ready) {
        uint32_t at = ring->at + dropped;
        uint32_t frame = xdp_frame_of(is_desc ? xdp_desc_at(ring, at)->addr : *xdp_address_at(ring, at));
        if (frame >= queue->region->frames || !queue->region->owned[frame]) {
            break;
        }
        where[frame] = 0;
        dropped++;
    }
    xdp_consumed(ring, dropped);
    return dropped;
}

int xdp_recover(struct xdp_queue *queue) {
    struct xdp_region *region = queue->region;
    uint8_t where[XDP_FRAMES_MOST] = {0};
    int error = roll_journal(queue);
    if (error) {
        return error;
    }
    find_all(queue, where);
    region->dropped = drop_claimed(queue, &queue->receive, 1, where);
    drop_claimed(queue, &queue->completion, 0, where);
    uint32_t circulating = 0;
    for (uint32_t frame = 0; frame < region->frames; frame++) {
        circulating += (where[frame] & (IN_FILL | IN_RECEIVE)) != 0;
    }
    uint32_t held = 0, refill = 0;
    queue->free_count = 0;
    for (uint32_t frame = 0; frame < region->frames; frame++) {
        if (where[frame] || !region->owned[frame]) {
            continue;
        }
        held++;
        if (circulating + refill < region->receive_share) {
            *xdp_address_at(&queue->fill, queue->fill.at + refill++) = (uint64_t)frame * XDP_FRAME;
        } else {
            queue->free[queue->free_count++] = frame;
        }
    }
    xdp_publish(queue, &queue->fill, XDP_FILL, refill);
    region->recovered = held;
    region->in_hand += refill;
    return 0;
}
