/* The thread that watches the rings for asyncio, in the controller: it polls them without the interpreter's lock and
 * wakes the event loop through an eventfd, so that no core ever signals anybody.
 * Two sleep in turn: the event loop while `parked`, the thread while `asleep` (the event loop is at work, and will look
 * at the rings itself before it parks). Knows neither messages nor actors. */
#pragma once

#include <stdint.h>
#include "../runtime/ring.h"

enum { POLLER_RINGS = 64 };

struct poller;

/* Watches `count` rings to the control plane; signals on `descriptor`, an eventfd. `spin`: nanoseconds of polling
 * without a pause after the event loop parked; `sleep`: nanoseconds between two looks from then on, up to 16 times as
 * many when nothing has come for long. 0 or -errno. */
int poller_start(struct ring **rings, uint32_t count, int descriptor, int64_t spin, int64_t sleep,
                 struct poller **poller);
/* Event loop, with nothing left to do: 1 = parked, the descriptor will become readable; 0 = a message is there.
 * hurry: something is due at once, so the thread ends its pause and looks without any for a while. */
int poller_park(struct poller *poller, int hurry);
/* Event loop, unparked: looks at the rings itself for so long; 1 = a message is there. Keeps its CPU busy. */
int poller_spin(const struct poller *poller, int64_t nanoseconds);
/* Event loop, when the descriptor became readable or it looks at the rings of its own accord. */
void poller_unpark(struct poller *poller);
/* Event loop, unparked: don't wake me for ring number `ring` of those watched: I can't take its messages now. */
void poller_mute(struct poller *poller, uint32_t ring, int mute);
/* Event loop, unparked: wake me also when the ring we produce into, always the same for this slot (0 to 63), has room
 * for `cells`; 0 = no more. */
void poller_want(struct poller *poller, uint32_t slot, struct ring *ring, uint32_t cells);
/* Ends the thread, waits for it, and frees. */
void poller_stop(struct poller *poller);
uint64_t poller_signals(const struct poller *poller); /* how often it woke the event loop */
