/* Counts frames. For tests, benchmarks and people; changes nothing. */
#include "xdp_audit.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>
#include "xdp_ring.h"

static uint32_t tally(uint8_t *places, const struct xdp_region *region, const struct xdp_ring *ring, int is_desc) {
    uint32_t from = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
    uint32_t to = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
    for (uint32_t at = from; at != to; at++) {
        uint32_t frame = xdp_frame_of(is_desc ? xdp_desc_at(ring, at)->addr : *xdp_address_at(ring, at));
        if (frame < region->frames) {
            places[frame]++;
        }
    }
    return to - from;
}

static uint64_t dropped(int descriptor) {
    struct xdp_statistics statistics = {0};
    socklen_t length = sizeof statistics;
    return getsockopt(descriptor, SOL_XDP, XDP_STATISTICS, &statistics, &length)
               ? 0
               : statistics.rx_dropped + statistics.rx_ring_full;
}

int xdp_audit(int descriptor, void *region_at, struct xdp_count *count) {
    struct xdp_queue queue;
    uint8_t places[XDP_FRAMES_MOST] = {0};
    int error = xdp_map(&queue, descriptor, region_at);
    if (error) {
        return error;
    }
    const struct xdp_region *region = queue.region;
    memset(count, 0, sizeof *count);
    count->frames = region->frames;
    count->fill = tally(places, region, &queue.fill, 0);
    count->receive = tally(places, region, &queue.receive, 1);
    count->send = tally(places, region, &queue.send, 1);
    count->completion = tally(places, region, &queue.completion, 0);
    uint32_t taken =
        __atomic_load_n(queue.fill.consumer, __ATOMIC_ACQUIRE) + __atomic_load_n(queue.send.consumer, __ATOMIC_ACQUIRE);
    count->kernel = taken - __atomic_load_n(queue.receive.producer, __ATOMIC_ACQUIRE) -
                    __atomic_load_n(queue.completion.producer, __ATOMIC_ACQUIRE);
    uint32_t nowhere = 0;
    for (uint32_t frame = 0; frame < region->frames; frame++) {
        uint32_t in = places[frame] + (region->owned[frame] != 0);
        count->owned += region->owned[frame] != 0;
        count->twice += in > 1;
        nowhere += in == 0;
    }
    count->lost = nowhere > count->kernel ? nowhere - count->kernel : 0;
    count->in_hand = region->in_hand;
    count->dropped = dropped(descriptor);
    xdp_unmap(&queue);
    return 0;
}
