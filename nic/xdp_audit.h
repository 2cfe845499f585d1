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
};

int xdp_audit(int descriptor, void *region, struct xdp_count *count); /* 0 or -errno */
