/* The self-test of a queue: a live frame goes through the steering program as if it had arrived, and must come out of
 * the queue's socket. Runs in the controller before the workers. */
#pragma once

#include <stdint.h>

enum { PROVE_FRAME = 60 };

/* Lets `frame` enter on this queue; today's Linux takes it for one of queue 0 whatever it is told. 0, or -errno:
 * -EOPNOTSUPP or -EINVAL when Linux can't (before 5.18). */
int xdp_inject(int program, uint32_t interface, uint32_t queue, const uint8_t *frame, uint32_t length);
/* Takes frames from the socket until one equals `frame` or the milliseconds are over; all go back to the fill ring.
 * 1 = seen, 0 = not, or -errno. */
int xdp_expect(int descriptor, void *region, const uint8_t *frame, uint32_t length, uint32_t milliseconds);
