/* Bytes beyond a hole: received out of order, kept until the hole is filled, told to the peer by SACK (RFC 2018).
 * A list of ranges and a ring as large as the actor's window, both buffers, held by the busy block while there are any.
 * Owned by the core. Adoption forgets them: what was not acknowledged may be thrown away (RFC 2018 section 8). */
#pragma once

#include <stdint.h>

enum { ISLANDS_CLASS = 8 /* log2 bytes of the list */, ISLANDS_MOST = 30, SACK_BLOCKS = 3 };

struct island { /* sequence numbers: bytes start..end-1 are here */
    uint32_t start, end;
};

struct islands {
    uint32_t buffer; /* of the bytes: sequence number n stands at n modulo its size */
    uint32_t size_class;
    uint32_t count;
    uint32_t rest;
    struct island at[ISLANDS_MOST]; /* apart from each other; the one that grew last comes first */
};

struct core;
/* Text that starts at `seq`, beyond a hole; of it what lies before the window's edge. 1: kept; 0: no memory, or too
 * many holes. */
int islands_keep(struct core *core, uint32_t index, uint32_t seq, const uint8_t *data, uint32_t length);
/* The bytes at rcv_nxt and how many are contiguous there; NULL: none. What lies before rcv_nxt is forgotten, and with
 * the last range the memory. */
const uint8_t *islands_next(struct core *core, uint32_t index, uint32_t *length);
/* The ranges to tell, newest first; returns how many. */
uint32_t islands_blocks(struct core *core, uint32_t index, struct island *blocks);
void islands_drop(struct core *core, uint32_t index);
