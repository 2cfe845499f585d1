/* The wheel under timer.h: slots of entries, each a number of 32 bits that means nothing here. An entry is handed out
 * when its slot comes round, never moved before. Ticks are milliseconds modulo 2^32. */
#pragma once

#include <stdint.h>

enum { WHEEL_LEVELS = 3, WHEEL_LEVEL_SLOTS = 512, WHEEL_LEVEL_SHIFT = 7, WHEEL_PIECE = 8 };

struct wheel_piece { /* entries looked at together */
    uint32_t entry[WHEEL_PIECE];
    uint32_t count, slot;
    const uint32_t *ahead; /* those that come next, to ask for what they stand for in time */
    uint32_t ahead_count;
};

static inline int before(uint32_t a, uint32_t b) {
    return (int32_t)(a - b) < 0;
}

struct core;
/* The slot whose look comes last among those not after the deadline, and its tick. */
uint32_t wheel_slot(const struct core *core, uint32_t deadline, uint32_t *tick);
/* The tick at which a slot comes up next. */
uint32_t wheel_slot_tick(const struct core *core, uint32_t slot);
/* 0, or -1: no chunk is free. */
int wheel_push(struct core *core, uint32_t slot, uint32_t entry);
/* The tick of the first slot with entries after wheel_tick; only if there is one. */
uint32_t wheel_next(const struct core *core, int *found);
/* Moves wheel_tick to the next slots due by now, and these to what is due; 0: nothing is due. */
int wheel_advance(struct core *core);
uint32_t wheel_due(const struct core *core, uint32_t level); /* not 0: something is, at this level */
/* Takes a piece off what is due at this level; there must be something. */
void wheel_take(struct core *core, uint32_t level, struct wheel_piece *piece);
void wheel_clear(struct core *core);
