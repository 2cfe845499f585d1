/* Where every frame of a queue is, as anybody who holds its socket may count it while no worker moves them. */
#pragma once

#include <stdint.h>

struct xdp_count {
    uint32_t frames;                          /* of the queue */
    uint32_t fill, receive, send, completion; /* in these rings */
    uint32_t owned;                           /* in the worker's hands */
    uint32_t kernel;                          /* taken by the kernel, in no ring yet */
    uint32_t twice;                           /* in more than one place */
    uint32_t lost;                            /* in none */
    uint32_t in_hand; /* not of now: received frames that dead workers had in hand, handled or not */
    uint64_t dropped; /* not of now: frames that Linux dropped because a ring was full or empty */
};

int xdp_audit(int descriptor, void *region, struct xdp_count *count); /* 0 or -errno */
