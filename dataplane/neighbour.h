/* MAC addresses of next hops, learned from the frames that open connections; in the arena, so that a new worker still
 * knows where to send. Written by the owning core. Entries stay: a record holds its index for life. */
#pragma once

#include <stdint.h>

enum { NEIGHBOURS = 8192, NEIGHBOUR_NONE = 0 };

struct neighbour {
    uint8_t address[6];
    uint16_t used; /* stored last */
};

struct core;
/* Index of this MAC, remembered if it is new; NEIGHBOUR_NONE: no room. */
uint16_t neighbour_learn(struct core *core, const uint8_t *address);
const uint8_t *neighbour_address(const struct core *core, uint16_t index);
