/* How far away the core at a wire's other end is, and the copy that spares a sender the way. A line that core had last
 * comes to ours before we can write it. From a near one, behind the same cache, that takes less time than copying;
 * from a far one more than can be hidden by asking early. There frames are built in memory of our own, and whole lines
 * go past the caches to the wire, where the receiver gets them from memory. Owned by one core. */
#pragma once

#include <stdint.h>
#include "memory.h"

struct distance {
    uint32_t far;    /* 1: the other core is far away */
    uint32_t mean16; /* nanoseconds that a line takes from there, 16 times the mean of the last ones */
    int64_t clock;   /* nanoseconds that reading the clock twice takes by itself */
    enum memory_distance told;
};

int64_t distance_clock(void);
void distance_begin(struct distance *distance);
void distance_set(struct distance *distance, enum memory_distance told);
/* took: from one distance_clock to another, around one read of a line from there. */
void distance_sample(struct distance *distance, int64_t took);
/* Whole lines of 64 bytes, on which both begin. In order for the other core only after far_fence. */
void far_copy(uint8_t *to, const uint8_t *from, uint32_t bytes);
void far_fence(void);
