/* Opens and maps AF_XDP sockets. Runs in the controller (open) and in the workers (map); not in the loop. */
#define _GNU_SOURCE
#include "xdp_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "xdp_ring.h"

#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* Linux 6.18 */
#endif

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69 /* Linux 5.11 */
#define SO_BUSY_POLL_BUDGET 70
#endif

_Static_assert(sizeof(struct xdp_region) <= XDP_REGION_HEADER, "frames start on a page");
_Static_assert(__builtin_offsetof(struct xdp_region, owned) == 64, "the journal has a line of its own");

enum { BIND_TRIES = 200, BIND_PAUSE = 10000000 /* nanoseconds */, SEND_BUDGET = 512, POLL_BUDGET = 64 };

uint64_t xdp_region_bytes(uint32_t frames) {
    return XDP_REGION_HEADER + (uint64_t)frames * XDP_FRAME;
}

static int set(int descriptor, int option, uint32_t value) {
    return setsockopt(descriptor, SOL_XDP, option, &value, sizeof value) ? -errno : 0;
}

static int register_frames(int descriptor, const struct xdp_open *open) {
    struct xdp_umem_reg umem = {
        .addr = (uintptr_t)open->region + XDP_REGION_HEADER,
        .len = (uint64_t)open->frames * XDP_FRAME,
        .chunk_size = XDP_FRAME,
    };
    if (setsockopt(descriptor, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem)) {
        return -errno;
    }
    static const int rings[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
    for (unsigned i = 0; i < sizeof rings / sizeof *rings; i++) {
        int error = set(descriptor, rings[i], open->frames);
        if (error) {
            return error;
        }
    }
    set(descriptor, XDP_MAX_TX_SKB_BUDGET, SEND_BUDGET); /* older kernels send 32 a call */
    return 0;
}

/* Documentation/networking/af_xdp.rst and napi.rst, "busy polling". */
static int prefer_busy_poll(int descriptor, uint32_t microseconds) {
    const int options[][2] = {
        {SO_PREFER_BUSY_POLL, 1}, {SO_BUSY_POLL, (int)microseconds}, {SO_BUSY_POLL_BUDGET, POLL_BUDGET}};
    for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
        if (setsockopt(descriptor, SOL_SOCKET, options[i][0], &options[i][1], sizeof options[i][1])) {
            return -errno;
        }
    }
    return 0;
}

/* The previous owner's queue is free a moment after it has gone. */
static int bind_queue(int descriptor, const struct xdp_open *open) {
    struct sockaddr_xdp address = {
        .sxdp_family = AF_XDP,
        .sxdp_ifindex = open->interface,
        .sxdp_queue_id = open->queue,
        .sxdp_flags = (uint16_t)(XDP_USE_NEED_WAKEUP | (open->zero_copy ? XDP_ZEROCOPY : XDP_COPY)),
    };
    for (int i = 0; i < BIND_TRIES; i++) {
        if (bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0) {
            return 0;
        }
        if (errno != EBUSY) {
            break;
        }
        nanosleep(&(struct timespec){0, BIND_PAUSE}, NULL);
    }
    return -errno;
}

/* Half of the frames wait in the fill ring, the other half are the worker's to send with. */
static int fill_first(int descriptor, const struct xdp_open *open) {
    struct xdp_queue queue = {0};
    struct xdp_region *region = open->region;
    memset(region, 0, XDP_REGION_HEADER);
    region->frames = open->frames;
    region->receive_share = open->frames / 2;
    memset(region->owned, 1, open->frames);
    int error = xdp_map(&queue, descriptor, region);
    if (error) {
        return error;
    }
    for (uint32_t i = 0; i < region->receive_share; i++) {
        *xdp_address_at(&queue.fill, queue.fill.at + i) = (uint64_t)i * XDP_FRAME;
    }
    xdp_publish(&queue, &queue.fill, XDP_FILL, region->receive_share);
    xdp_unmap(&queue);
    return 0;
}

int xdp_socket(const struct xdp_open *open) {
    if (open->frames < 64 || open->frames > XDP_FRAMES_MOST || (open->frames & (open->frames - 1))) {
        return -EINVAL;
    }
    int descriptor = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return -errno;
    }
    int error = register_frames(descriptor, open);
    if (!error && open->busy_poll) {
        error = prefer_busy_poll(descriptor, open->busy_poll);
    }
    if (!error) {
        error = bind_queue(descriptor, open);
    }
    if (!error) {
        error = fill_first(descriptor, open);
    }
    if (error) {
        close(descriptor);
        return error;
    }
    return descriptor;
}

static int map_ring(struct xdp_ring *ring, int descriptor, const struct xdp_ring_offset *offset, uint64_t page,
                    uint32_t entries, uint32_t entry) {
    ring->mapped_bytes = offset->desc + (uint64_t)entries * entry;
    ring->mapped =
        mmap(NULL, ring->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, (off_t)page);
    if (ring->mapped == MAP_FAILED) {
        ring->mapped = NULL;
        return -errno;
    }
    uint8_t *base = ring->mapped;
    ring->producer = (uint32_t *)(base + offset->producer);
    ring->consumer = (uint32_t *)(base + offset->consumer);
    ring->flags = (uint32_t *)(base + offset->flags);
    ring->slots = base + offset->desc;
    ring->mask = entries - 1;
    return 0;
}

static int map_rings(struct xdp_queue *queue, uint32_t entries) {
    struct xdp_mmap_offsets offsets;
    socklen_t length = sizeof offsets;
    int fd = queue->descriptor, error;
    if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length)) {
        return -errno;
    }
    if ((error = map_ring(&queue->fill, fd, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING, entries, 8)) ||
        (error = map_ring(&queue->completion, fd, &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, entries, 8)) ||
        (error = map_ring(&queue->receive, fd, &offsets.rx, XDP_PGOFF_RX_RING, entries, sizeof(struct xdp_desc))) ||
        (error = map_ring(&queue->send, fd, &offsets.tx, XDP_PGOFF_TX_RING, entries, sizeof(struct xdp_desc)))) {
        return error;
    }
    queue->fill.at = __atomic_load_n(queue->fill.producer, __ATOMIC_RELAXED);
    queue->send.at = __atomic_load_n(queue->send.producer, __ATOMIC_RELAXED);
    queue->completion.at = __atomic_load_n(queue->completion.consumer, __ATOMIC_RELAXED);
    queue->receive.at = __atomic_load_n(queue->receive.consumer, __ATOMIC_RELAXED);
    return 0;
}

int xdp_map(struct xdp_queue *queue, int descriptor, void *region) {
    *queue = (struct xdp_queue){.descriptor = descriptor, .region = region};
    queue->frames = (uint8_t *)region + XDP_REGION_HEADER;
    uint32_t frames = queue->region->frames;
    if (frames == 0 || frames > XDP_FRAMES_MOST || (frames & (frames - 1))) {
        return -EBADMSG;
    }
    int prefers = 0;
    socklen_t length = sizeof prefers;
    getsockopt(descriptor, SOL_SOCKET, SO_PREFER_BUSY_POLL, &prefers, &length); /* Linux before 5.11: 0 */
    queue->busy_poll = prefers != 0;
    queue->free = calloc(frames, sizeof *queue->free);
    int error = queue->free ? map_rings(queue, frames) : -ENOMEM;
    if (error) {
        xdp_unmap(queue);
    }
    return error;
}

void xdp_unmap(struct xdp_queue *queue) {
    struct xdp_ring *rings[] = {&queue->fill, &queue->completion, &queue->receive, &queue->send};
    for (unsigned i = 0; i < sizeof rings / sizeof *rings; i++) {
        if (rings[i]->mapped) {
            munmap(rings[i]->mapped, rings[i]->mapped_bytes);
        }
    }
    free(queue->free);
    *queue = (struct xdp_queue){.descriptor = -1};
}

int xdp_is_zero_copy(int descriptor) {
    struct xdp_options options;
    socklen_t length = sizeof options;
    if (getsockopt(descriptor, SOL_XDP, XDP_OPTIONS, &options, &length)) {
        return -errno;
    }
    return (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}
