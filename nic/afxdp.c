/* Driver `afxdp`: bursts over AF_XDP rings. The only system calls are the doorbells the kernel asks for (need_wakeup).
 * Owned by the core; a frame's slot is its queue's number in the upper byte and its own in the rest. */
#define _GNU_SOURCE
#include "afxdp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include "nic.h"
#include "steer.h"
#include "xdp_ring.h"

enum { QUEUE_SHIFT = 24, FRAME_MASK = (1 << QUEUE_SHIFT) - 1 };

struct afxdp {
    struct nic nic;
    uint32_t count;
    uint32_t receive_next; /* the queue that is asked first */
    struct xdp_queue queues[AFXDP_QUEUES];
    struct pollfd polls[AFXDP_QUEUES + 1]; /* and the bell */
};

static struct afxdp *afxdp_of(struct nic *nic) {
    return nic->queue;
}

/* What the kernel has sent comes back to the free stack. */
static void reclaim(struct xdp_queue *queue) {
    uint32_t ready = xdp_ready(&queue->completion);
    for (uint32_t i = 0; i < ready; i++) {
        uint32_t frame = xdp_frame_of(*xdp_address_at(&queue->completion, queue->completion.at + i));
        queue->region->owned[frame] = 1;
        queue->free[queue->free_count + i] = frame;
    }
    queue->free_count += ready;
    xdp_consumed(&queue->completion, ready);
}

/* The doorbells; an error other than "again" shows in the counters of the socket, and the next turn rings anew. */
static void ring_send(struct xdp_queue *queue) {
    if (xdp_waiting(&queue->send) && *queue->send.flags & XDP_RING_NEED_WAKEUP) {
        sendto(queue->descriptor, NULL, 0, MSG_DONTWAIT, NULL, 0);
    }
}

static void ring_receive(struct xdp_queue *queue) {
    if (queue->busy_poll || *queue->fill.flags & XDP_RING_NEED_WAKEUP) {
        recvfrom(queue->descriptor, NULL, 0, MSG_DONTWAIT, NULL, NULL);
    }
}

/* afxdp_add has recovered each queue when it mapped it. */
static int afxdp_adopt(struct nic *nic) {
    (void)nic;
    return 0;
}

static uint32_t receive_queue(struct nic *nic, uint32_t number, struct frame *frames, uint32_t count) {
    struct xdp_queue *queue = &afxdp_of(nic)->queues[number];
    uint32_t ready = xdp_ready(&queue->receive);
    count = ready < count ? ready : count;
    for (uint32_t i = 0; i < count; i++) {
        const struct xdp_desc *desc = xdp_desc_at(&queue->receive, queue->receive.at + i);
        uint32_t frame = xdp_frame_of(desc->addr);
        queue->region->owned[frame] = 1;
        frames[i].data = queue->frames + desc->addr;
        frames[i].length = desc->len;
        frames[i].slot = number << QUEUE_SHIFT | frame;
        nic->stats.rx_bytes += desc->len;
    }
    if (count) {
        xdp_consumed(&queue->receive, count);
    } else {
        ring_receive(queue);
    }
    if (queue->pulse) {
        __atomic_store_n(&queue->pulse->looked, (uint64_t)nic->now, __ATOMIC_RELAXED);
        uint64_t tagged = __atomic_load_n(&queue->pulse->tagged, __ATOMIC_RELAXED);
        nic->stats.vlan_passed += tagged - queue->tagged;
        queue->tagged = tagged;
    }
    ring_send(queue);
    return count;
}

static uint32_t afxdp_rx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    struct afxdp *afxdp = afxdp_of(nic);
    uint32_t got = 0;
    for (uint32_t i = 0; i < afxdp->count; i++) {
        uint32_t number = (afxdp->receive_next + i) % afxdp->count;
        got += receive_queue(nic, number, frames + got, count - got);
    }
    afxdp->receive_next = (afxdp->receive_next + 1) % afxdp->count;
    nic->stats.rx_frames += got;
    return got;
}

/* As many of the frames as belong to the first one's queue. */
static uint32_t run_of(const struct frame *frames, uint32_t count) {
    uint32_t run = 1;
    while (run < count && frames[run].slot >> QUEUE_SHIFT == frames[0].slot >> QUEUE_SHIFT) {
        run++;
    }
    return run;
}

static void afxdp_release(struct nic *nic, struct frame *frames, uint32_t count) {
    for (uint32_t done = 0, run; done < count; done += run) {
        run = run_of(frames + done, count - done);
        struct xdp_queue *queue = &afxdp_of(nic)->queues[frames[done].slot >> QUEUE_SHIFT];
        for (uint32_t i = 0; i < run; i++) {
            uint64_t address = (uint64_t)(frames[done + i].slot & FRAME_MASK) * XDP_FRAME;
            *xdp_address_at(&queue->fill, queue->fill.at + i) = address;
        }
        xdp_publish(queue, &queue->fill, XDP_FILL, run);
    }
}

static uint32_t afxdp_tx_alloc(struct nic *nic, struct frame *frames, uint32_t count) {
    struct afxdp *afxdp = afxdp_of(nic);
    uint32_t given = 0;
    for (uint32_t number = 0; number < afxdp->count && given < count; number++) {
        struct xdp_queue *queue = &afxdp->queues[number];
        reclaim(queue); /* the frames sent last are taken first: they are still in the cache */
        while (queue->free_count && given < count) {
            uint32_t frame = queue->free[--queue->free_count];
            frames[given].data = queue->frames + (uint64_t)frame * XDP_FRAME + XDP_SEND_OFFSET;
            frames[given].length = XDP_FRAME_MOST - XDP_SEND_OFFSET;
            frames[given++].slot = number << QUEUE_SHIFT | frame;
        }
    }
    nic->stats.tx_full += given < count;
    return given;
}

static void afxdp_tx_burst(struct nic *nic, struct frame *frames, uint32_t count) {
    for (uint32_t done = 0, run; done < count; done += run) {
        run = run_of(frames + done, count - done);
        struct xdp_queue *queue = &afxdp_of(nic)->queues[frames[done].slot >> QUEUE_SHIFT];
        for (uint32_t i = 0; i < run; i++) {
            const struct frame *frame = &frames[done + i];
            uint64_t address = (uint64_t)(frame->slot & FRAME_MASK) * XDP_FRAME + XDP_SEND_OFFSET;
            *xdp_desc_at(&queue->send, queue->send.at + i) = (struct xdp_desc){address, frame->length, 0};
            nic->stats.tx_bytes += frame->length;
        }
        xdp_publish(queue, &queue->send, XDP_SEND, run);
        ring_send(queue);
    }
    nic->stats.tx_frames += count;
}

static void afxdp_idle(struct nic *nic, int64_t nanoseconds, int bell) {
    struct afxdp *afxdp = afxdp_of(nic);
    struct timespec pause = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    afxdp->polls[afxdp->count] = (struct pollfd){.fd = bell, .events = POLLIN};
    ppoll(afxdp->polls, afxdp->count + 1, &pause, NULL);
}

static void afxdp_limits(struct nic *nic, struct nic_limits *limits) {
    (void)nic;
    *limits = (struct nic_limits){
        .frame_bytes = XDP_FRAME_MOST - XDP_SEND_OFFSET, .burst = NIC_BURST, .partial_checksums = 1};
}

static const struct nic_driver afxdp_driver = {
    .name = "afxdp",
    .adopt = afxdp_adopt,
    .rx_burst = afxdp_rx_burst,
    .tx_alloc = afxdp_tx_alloc,
    .tx_burst = afxdp_tx_burst,
    .release = afxdp_release,
    .idle = afxdp_idle,
    .limits = afxdp_limits,
};

int afxdp_open(const uint8_t *address, struct nic **nic) {
    struct afxdp *afxdp = calloc(1, sizeof *afxdp);
    if (!afxdp) {
        return -ENOMEM;
    }
    afxdp->nic = (struct nic){.driver = &afxdp_driver, .queue = afxdp};
    memcpy(afxdp->nic.address, address, sizeof afxdp->nic.address);
    *nic = &afxdp->nic;
    return 0;
}

int afxdp_add(struct nic *nic, int descriptor, void *region, struct steer_pulse *pulse) {
    struct afxdp *afxdp = afxdp_of(nic);
    if (afxdp->count == AFXDP_QUEUES) {
        return -ENOSPC;
    }
    struct xdp_queue *queue = &afxdp->queues[afxdp->count];
    int error = xdp_map(queue, descriptor, region);
    /* A fresh queue is recovered too: the frames to send with are those in no ring. */
    if (!error && (error = xdp_recover(queue))) {
        xdp_unmap(queue);
    }
    if (error) {
        return error;
    }
    queue->pulse = pulse;
    afxdp->polls[afxdp->count] = (struct pollfd){.fd = descriptor, .events = POLLIN};
    afxdp->count++;
    return 0;
}

void afxdp_close(struct nic *nic) {
    struct afxdp *afxdp = afxdp_of(nic);
    for (uint32_t i = 0; i < afxdp->count; i++) {
        xdp_unmap(&afxdp->queues[i]);
    }
    free(afxdp);
}
