/* The self-test of a queue: the steering program must send its frames to its socket, a live frame that enters must come
 * out there, and one that is sent must come back as sent. Runs in the controller before the workers. */
#pragma once

#include <stdint.h>

enum { PROVE_FRAME = 60 };

/* What the program does with `frame` on this queue: XDP_REDIRECT (4), XDP_DROP … `live`: it enters for good; Linux
 * takes such frames for queue 0's whatever it is told. -errno: -EOPNOTSUPP or -EINVAL when Linux can't (before 5.14;
 * live: 5.18). */
int xdp_enter(int program, uint32_t interface, uint32_t queue, const uint8_t *frame, uint32_t length, int live);
/* Takes frames from the socket until one equals `frame` or the milliseconds are over; all go back to the fill ring.
 * 1 = seen, 0 = not, or -errno. */
int xdp_expect(int descriptor, void *region, const uint8_t *frame, uint32_t length, uint32_t milliseconds);
/* Sends `frame` and waits for the kernel to give its slot back: 1, or 0 when the milliseconds are over, or -errno. */
int xdp_send_one(int descriptor, void *region, const uint8_t *frame, uint32_t length, uint32_t milliseconds);
