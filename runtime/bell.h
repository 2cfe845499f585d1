/* The bell: how the control plane wakes a core that sleeps. One word in the ring from the control plane (`asleep`) and
 * one eventfd, both of that core. Only the control plane rings, and only while the word says that the core sleeps, so
 * that a busy core costs it no system call. A core never signals anybody. Knows no message. */
#pragma once

#include "ring.h"

/* Control plane: ring_put, then rings `bell` (an eventfd; -1 = there is none) if the core sleeps. As ring_put. */
int bell_put(struct ring *ring, const struct ring_message *message, const void *payload, int bell);
/* Control plane, after messages that ring_put took: the same for all of them at once. Or before one that it is about to
 * make: the core wakes meanwhile. */
void bell_told(struct ring *ring, int bell);
/* Core, with nothing to do: 1 = it may sleep until `bell` is readable, or as long as it likes; 0 = a message is there.
 */
int bell_may_sleep(struct ring *ring);
/* Core, awake again, whatever woke it: 1 = somebody rings, so a message is there or about to come. */
int bell_awake(struct ring *ring, int bell);
