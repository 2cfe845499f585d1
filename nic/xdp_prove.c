/* Lets frames enter and looks for them, sends one and waits for its slot. The kernel's door for entering is
 * BPF_PROG_RUN (Documentation/bpf/bpf_prog_run.rst). Not in the loop. */
#define _GNU_SOURCE
#include "xdp_prove.h"

#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "xdp_ring.h"

#ifndef BPF_F_TEST_XDP_LIVE_FRAMES
#define BPF_F_TEST_XDP_LIVE_FRAMES (1U << 1)
#endif

int xdp_enter(int program, uint32_t interface, uint32_t queue, const uint8_t *frame, uint32_t length, int live) {
    struct xdp_md context = {.data_end = length, .ingress_ifindex = interface, .rx_queue_index = queue};
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.test.prog_fd = (uint32_t)program;
    attributes.test.data_in = (uintptr_t)frame;
    attributes.test.data_size_in = length;
    attributes.test.ctx_in = (uintptr_t)&context;
    attributes.test.ctx_size_in = sizeof context;
    attributes.test.repeat = 1;
    attributes.test.flags = live ? BPF_F_TEST_XDP_LIVE_FRAMES : 0;
    return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes) < 0 ? -errno
                                                                                   : (int)attributes.test.retval;
}

/* Everything that is ready goes back; 1 if `frame` was among it. */
static int look_through(struct xdp_queue *queue, const uint8_t *frame, uint32_t length) {
    uint32_t ready = xdp_ready(&queue->receive);
    int seen = 0;
    for (uint32_t i = 0; i < ready; i++) {
        const struct xdp_desc *desc = xdp_desc_at(&queue->receive, queue->receive.at + i);
        uint32_t number = xdp_frame_of(desc->addr);
        seen |= desc->len >= length && memcmp(queue->frames + desc->addr, frame, length) == 0;
        queue->region->owned[number] = 1;
        *xdp_address_at(&queue->fill, queue->fill.at + i) = (uint64_t)number * XDP_FRAME;
    }
    if (ready) {
        xdp_consumed(&queue->receive, ready);
        xdp_publish(queue, &queue->fill, XDP_FILL, ready);
    }
    return seen;
}

int xdp_expect(int descriptor, void *region, const uint8_t *frame, uint32_t length, uint32_t milliseconds) {
    struct xdp_queue queue;
    int error = xdp_map(&queue, descriptor, region), seen = 0;
    if (error) {
        return error;
    }
    struct pollfd readable = {.fd = descriptor, .events = POLLIN};
    for (uint32_t waited = 0; !seen && waited <= milliseconds; waited++) {
        poll(&readable, 1, 1);
        seen = look_through(&queue, frame, length);
    }
    xdp_unmap(&queue);
    return seen;
}

int xdp_send_one(int descriptor, void *region, const uint8_t *frame, uint32_t length, uint32_t milliseconds) {
    struct xdp_queue queue;
    int error = xdp_map(&queue, descriptor, region), sent = 0;
    if (error) {
        return error;
    }
    uint64_t address = (uint64_t)queue.region->receive_share * XDP_FRAME + XDP_SEND_OFFSET; /* the first to send with */
    memcpy(queue.frames + address, frame, length);
    *xdp_desc_at(&queue.send, queue.send.at) = (struct xdp_desc){address, length, 0};
    xdp_publish(&queue, &queue.send, XDP_SEND, 1);
    for (uint32_t waited = 0; !sent && waited <= milliseconds; waited++) {
        sendto(descriptor, NULL, 0, MSG_DONTWAIT, NULL, 0);
        poll(NULL, 0, waited > 0);
        sent = xdp_ready(&queue.completion) > 0;
    }
    if (sent) {
        queue.region->owned[queue.region->receive_share] = 1;
        xdp_consumed(&queue.completion, 1);
    }
    xdp_unmap(&queue);
    return sent;
}
