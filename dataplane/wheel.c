/* The wheel itself: three levels of 512 slots, one millisecond, 128 and 16 384 wide. A slot's entries lie in chunks;
 * what is due is taken off piece by piece. Rebuilt by adoption, hence no intents. Knows no record. */
#include "wheel.h"

#include <string.h>
#include "core.h"
#include "timer.h"

enum { LEVELS = WHEEL_LEVELS, LEVEL_SLOTS = WHEEL_LEVEL_SLOTS, LEVEL_SHIFT = WHEEL_LEVEL_SHIFT };
enum { SLOTS = LEVELS * LEVEL_SLOTS, WORDS = LEVEL_SLOTS / 64, CHUNK_ENTRIES = 15, CHUNKS_SPARE = SLOTS + 64 };

struct chunk {
    uint32_t entry[CHUNK_ENTRIES];
    uint32_t next;
};

struct slot {
    uint32_t chunk; /* newest; only it may be partly filled */
    uint32_t count; /* entries in it */
};

struct wheel {
    uint64_t filled[LEVELS][WORDS]; /* a bit for each slot that has entries */
    struct slot slots[SLOTS];
    struct slot due[LEVELS]; /* what wheel_tick brought up and no turn has looked at yet, with its slot */
    uint32_t due_slot[LEVELS];
    uint32_t spare[7];
};

_Static_assert(sizeof(struct chunk) == 64, "one cache line");
_Static_assert(sizeof(struct wheel) % 64 == 0, "chunks follow on cache lines");

static struct wheel *wheel_of(const struct core *core) {
    return (void *)core->timers;
}

/* Numbered from 1. */
static struct chunk *chunk_at(const struct core *core, uint32_t chunk) {
    return (struct chunk *)(void *)(core->timers + sizeof(struct wheel)) + chunk - 1;
}

/* Two entries a record (a nearer and a farther deadline), a part-filled chunk a slot. */
uint32_t timer_chunks(uint64_t connections) {
    return (uint32_t)(connections * 2 / CHUNK_ENTRIES) + CHUNKS_SPARE;
}

uint64_t timer_bytes(uint64_t connections) {
    return sizeof(struct wheel) + sizeof(struct chunk) * timer_chunks(connections);
}

uint32_t wheel_slot(const struct core *core, uint32_t deadline, uint32_t *tick) {
    uint32_t now = core->state->wheel_tick;
    uint32_t delta = deadline - now;
    if ((int32_t)delta <= 0) {
        deadline = now + 1;
        delta = 1;
    }
    uint32_t level = 0;
    while (level < LEVELS - 1 && delta >= (LEVEL_SLOTS - 1u) << (LEVEL_SHIFT * level))
        level++;
    uint32_t shift = LEVEL_SHIFT * level;
    if (delta >= (LEVEL_SLOTS - 1u) << shift)
        deadline = now + ((LEVEL_SLOTS - 2u) << shift);
    uint32_t unit = deadline >> shift;
    if (unit << shift == 0) /* tick 0 means "not queued" */
        unit = level ? unit - 1 : 1;
    unit &= UINT32_MAX >> shift;
    *tick = unit << shift;
    return level * LEVEL_SLOTS + unit % LEVEL_SLOTS;
}

int wheel_push(struct core *core, uint32_t number, uint32_t entry) {
    struct core_state *state = core->state;
    struct wheel *wheel = wheel_of(core);
    struct slot *slot = &wheel->slots[number];
    if (!slot->chunk || slot->count == CHUNK_ENTRIES) {
        uint32_t chunk = state->chunk_free;
        if (chunk)
            state->chunk_free = chunk_at(core, chunk)->next;
        else if (state->chunk_fresh <= core->timer_chunks)
            chunk = state->chunk_fresh++;
        else
            return -1;
        chunk_at(core, chunk)->next = slot->chunk;
        slot->chunk = chunk;
        slot->count = 0;
        wheel->filled[number / LEVEL_SLOTS][number % LEVEL_SLOTS / 64] |= 1ull << number % 64;
    }
    chunk_at(core, slot->chunk)->entry[slot->count++] = entry;
    state->wheel_entries++;
    return 0;
}

uint32_t wheel_slot_tick(const struct core *core, uint32_t number) {
    uint32_t shift = LEVEL_SHIFT * (number / LEVEL_SLOTS);
    uint32_t unit = core->state->wheel_tick >> shift;
    uint32_t ahead = (number - unit) % LEVEL_SLOTS;
    return (unit + (ahead ? ahead : LEVEL_SLOTS)) << shift;
}

uint32_t wheel_next(const struct core *core, int *found) {
    const struct wheel *wheel = wheel_of(core);
    uint32_t best = 0;
    *found = 0;
    for (uint32_t level = 0; level < LEVELS; level++) {
        uint32_t start = ((core->state->wheel_tick >> (LEVEL_SHIFT * level)) + 1) % LEVEL_SLOTS;
        for (uint32_t word = 0; word <= WORDS; word++) {
            uint32_t at = (start / 64 + word) % WORDS;
            uint64_t bits = wheel->filled[level][at];
            if (word == 0)
                bits &= UINT64_MAX << start % 64;
            if (!bits)
                continue;
            uint32_t tick = wheel_slot_tick(core, level * LEVEL_SLOTS + at * 64 + (uint32_t)__builtin_ctzll(bits));
            if (!*found || before(tick, best))
                best = tick;
            *found = 1;
            break;
        }
    }
    return best;
}

int wheel_advance(struct core *core) {
    struct wheel *wheel = wheel_of(core);
    struct core_state *state = core->state;
    int found;
    if (!before(state->wheel_tick, core->tick))
        return 0;
    uint32_t tick = state->wheel_entries ? wheel_next(core, &found) : 0;
    if (!state->wheel_entries || !found || before(core->tick, tick)) {
        state->wheel_tick = core->tick;
        return 0;
    }
    state->wheel_tick = tick;
    for (uint32_t level = 0; level < LEVELS; level++) {
        uint32_t shift = LEVEL_SHIFT * level;
        uint32_t at = (tick >> shift) % LEVEL_SLOTS;
        if (tick & ((1u << shift) - 1))
            break;
        wheel->due[level] = wheel->slots[level * LEVEL_SLOTS + at];
        wheel->due_slot[level] = level * LEVEL_SLOTS + at;
        wheel->slots[level * LEVEL_SLOTS + at] = (struct slot){0, 0};
        wheel->filled[level][at / 64] &= ~(1ull << at % 64);
    }
    return 1;
}

static uint32_t piece_of(const struct slot *due) {
    return due->count < WHEEL_PIECE ? due->count : WHEEL_PIECE;
}

uint32_t wheel_due(const struct core *core, uint32_t level) {
    return wheel_of(core)->due[level].chunk;
}

void wheel_take(struct core *core, uint32_t level, struct wheel_piece *piece) {
    struct slot *due = &wheel_of(core)->due[level];
    uint32_t number = due->chunk;
    struct chunk *chunk = chunk_at(core, number);
    piece->slot = wheel_of(core)->due_slot[level];
    piece->count = piece_of(due);
    due->count -= piece->count;
    core->state->wheel_entries -= piece->count;
    memcpy(piece->entry, chunk->entry + due->count, piece->count * sizeof *piece->entry);
    piece->ahead_count = 0;
    if (!due->count) {
        *due = (struct slot){chunk->next, CHUNK_ENTRIES};
        chunk->next = core->state->chunk_free;
        core->state->chunk_free = number;
        if (!due->chunk)
            return;
        chunk = chunk_at(core, due->chunk);
        if (chunk->next)
            __builtin_prefetch(chunk_at(core, chunk->next));
    }
    piece->ahead_count = piece_of(due);
    piece->ahead = chunk->entry + due->count - piece->ahead_count;
}

void wheel_clear(struct core *core) {
    struct core_state *state = core->state;
    memset(wheel_of(core), 0, sizeof(struct wheel));
    state->chunk_free = 0;
    state->chunk_fresh = 1;
    state->wheel_entries = 0;
    state->wheel_missed = 0;
    state->wheel_sweep = 1;
}
