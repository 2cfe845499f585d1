/* The actors' configs as changed while they run. The control plane writes them into the image that is not in use, then
 * moves `version`; the core takes them over between two turns, all listeners at once, and says so. The
 * arena's config section, written by the control plane but for `taken`. */
#pragma once

#include <stdint.h>

struct configuration {
    uint32_t version; /* 0: the layout's own configs hold. Even versions stand in the first image, odd in the second */
    uint32_t bytes;   /* of an image; both follow */
    uint32_t rest[14];
    uint32_t taken; /* the version that the core has taken over; the one field that it writes */
    uint32_t core_rest[15];
};

struct core;
/* Between two turns, and before on_start. */
void configure_turn(struct core *core);
/* The control plane's: the image that holds from now on. Its version, or 0: the core has yet to take the last one. */
uint32_t configure_put(struct configuration *configuration, const uint8_t *image, uint32_t length);
int configure_taken(const struct configuration *configuration); /* 1: the core has the newest version */
