/* The control plane's end of the relay: what the core says of many connections is taken at once, and what is written
 * to one is put piece by piece (relay.h). Runs in the controller; knows rings, no connection. */
#pragma once

#include <stdint.h>
#include "../runtime/ring.h"

enum {
    LINE_HEARD = 64,    /* messages taken at once, at most */
    LINE_BYTES = 65536, /* and their bytes */
};

struct line_heard {
    uint64_t key;        /* the record: its generation above the RECORD_INDEX_BITS of its index */
    uint32_t what;       /* enum relay_up: DATA, END, CLOSED, CREDIT or GONE */
    uint32_t at;         /* relay_head.at */
    uint32_t begin, end; /* the bytes of DATA, places in the buffer */
};

/* Takes the messages of connections that come next, and gives their cells back; DATA of one connection that follows
 * on DATA is one entry. Stops before any other message, which is ring_get's. How many entries there are. */
uint32_t line_hear(struct ring *ring, struct line_heard *heard, uint8_t *bytes);
/* RELAY_WRITE of so many bytes, the first of which has the place `at`; how many of them the ring took. Rings the core's
 * bell if it sleeps (-1: there is none). */
uint32_t line_write(struct ring *ring, int bell, uint32_t index, uint32_t generation, uint32_t at, const uint8_t *data,
                    uint32_t length);
