/* The wheel: three levels of 512 slots, one millisecond, 128 and 16 384 wide. An entry is looked at when its slot comes
 * round, never moved before: then the record says whether to fire, to look again later, or nothing. A slot's width is
 * rounded down, so the last look is on the very tick. Rebuilt by adoption, hence no intents. Knows no protocol. */
#include "timer.h"

#include <string.h>
#include "actor.h"
#include "core.h"
#include "crash.h"
#include "record.h"
#include "record_pool.h"
#include "transport.h"

enum { LEVELS = 3, LEVEL_SLOTS = 512, LEVEL_SHIFT = 7, SLOTS = LEVELS * LEVEL_SLOTS, WORDS = LEVEL_SLOTS / 64 };
enum {
    CHUNK_ENTRIES = 15,
    PIECE = 8 /* entries looked at together */,
    SWEEP = 64 /* records a turn */,
    CHUNKS_SPARE = SLOTS + 64
};

struct chunk {
    uint32_t index[CHUNK_ENTRIES];
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

static int before(uint32_t a, uint32_t b) {
    return (int32_t)(a - b) < 0;
}

/* The nearer deadline that is set, or 0. */
static uint32_t earliest(const struct record *record) {
    uint32_t transport = record->transport_deadline;
    uint32_t application = record->application_deadline;
    if (!transport || !application)
        return transport | application;
    return before(transport, application) ? transport : application;
}

/* The slot whose look comes last among those not after the deadline, and its tick. */
static uint32_t slot_for(const struct core *core, uint32_t deadline, uint32_t *tick) {
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

/* 0, or -1: no chunk is free. */
static int push(struct core *core, uint32_t number, uint32_t index) {
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
    chunk_at(core, slot->chunk)->index[slot->count++] = index;
    state->wheel_entries++;
    return 0;
}

/* The tick at which a slot comes up next. */
static uint32_t slot_tick(const struct core *core, uint32_t number) {
    uint32_t shift = LEVEL_SHIFT * (number / LEVEL_SLOTS);
    uint32_t unit = core->state->wheel_tick >> shift;
    uint32_t ahead = (number - unit) % LEVEL_SLOTS;
    return (unit + (ahead ? ahead : LEVEL_SLOTS)) << shift;
}

/* A record remembers three entries that stand for it, as slot + 1, 0 = none: the one looked at first (its tick is
 * `queued`) and two farther ones, to which it returns instead of adding another. When a fourth comes the nearest is
 * forgotten, and goes stale where it is: it will be gone soonest. Without this a record whose deadlines swing between
 * near and far (an hour's idle time, a second's RTO, a delayed ACK) would leave an entry behind at each swing. */
enum { ENTRY_BITS = 11, ENTRY_MASK = (1 << ENTRY_BITS) - 1 };

_Static_assert(RECORD_TAKEN > 4 << 2 * ENTRY_BITS, "a level and two entries lie below the mark");

struct standing {
    uint32_t near, middle, far;
};

static struct standing standing_of(const struct record *record) {
    uint32_t level = record->next >> 2 * ENTRY_BITS & 3;
    uint32_t slot = level * LEVEL_SLOTS + (record->queued >> LEVEL_SHIFT * level) % LEVEL_SLOTS;
    return (struct standing){record->queued ? slot + 1 : 0, record->next >> ENTRY_BITS & ENTRY_MASK,
                             record->next & ENTRY_MASK};
}

static void remember(struct record *record, uint32_t tick, struct standing standing) {
    uint32_t level = standing.near ? (standing.near - 1) / LEVEL_SLOTS : 0;
    record->queued = standing.near ? tick : 0;
    record->next = RECORD_TAKEN | level << 2 * ENTRY_BITS | standing.middle << ENTRY_BITS | standing.far;
}

/* Without a near entry, one of the farther may do; 1 if it does. */
static int promote(struct core *core, struct record *record, struct standing standing, uint32_t deadline) {
    uint32_t *next = standing.middle ? &standing.middle : &standing.far;
    uint32_t tick = *next ? slot_tick(core, *next - 1) : 0;
    if (!tick || before(deadline, tick))
        return 0;
    standing.near = *next;
    *next = 0;
    remember(record, tick, standing);
    return 1;
}

/* Makes sure that the record is looked at no later than at `deadline`. */
static void queue(struct core *core, uint32_t index, uint32_t deadline) {
    struct record *record = &core->records[index];
    struct standing standing = standing_of(record);
    uint32_t tick;
    if (standing.near && !before(deadline, record->queued))
        return;
    if (!standing.near && promote(core, record, standing, deadline))
        return;
    if (standing.near && !standing.far) {
        standing.far = standing.middle;
        standing.middle = standing.near;
    } else if (standing.near && !standing.middle) {
        standing.middle = standing.near;
    }
    standing.near = slot_for(core, deadline, &tick) + 1;
    if (push(core, standing.near - 1, index)) {
        core->state->wheel_missed = 1;
        standing.near = 0;
    }
    remember(record, tick, standing);
}

void timer_set(struct core *core, uint32_t index, enum timer_which which, uint32_t deadline) {
    struct record *record = &core->records[index];
    if (which == TIMER_TRANSPORT)
        record->transport_deadline = deadline;
    else
        record->application_deadline = deadline;
    if (record->queued && !before(deadline, record->queued))
        return;
    if (!core->state->wheel_entries)
        core->state->wheel_tick = core->tick;
    /* Not queued, its other deadline may have missed a chunk. */
    queue(core, index, record->queued ? deadline : earliest(record));
}

void timer_clear(struct core *core, uint32_t index, enum timer_which which) {
    if (which == TIMER_TRANSPORT)
        core->records[index].transport_deadline = 0;
    else
        core->records[index].application_deadline = 0;
}

static void fire(struct core *core, uint32_t index, enum timer_which which) {
    core->state->firing = index | (uint32_t)which << RECORD_INDEX_BITS;
    CRASH_POINT(timer_firing);
    timer_clear(core, index, which);
    CRASH_POINT(timer_cleared);
    if (which == TIMER_APPLICATION)
        actor_timer(core, index);
    else if (core->transport && core->transport->timer)
        core->transport->timer(core, index);
    CRASH_POINT(timer_fired);
    core->state->firing = 0;
}

static int expired(const struct core *core, uint32_t deadline) {
    return deadline && !before(core->tick, deadline);
}

/* Fires what has run out, and queues the record for what has not. A callback may free it, or set deadlines anew.
 * Returns how many ran out. */
static uint32_t look(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    uint32_t generation = record->generation, fired = 0;
    if (expired(core, record->transport_deadline)) {
        fire(core, index, TIMER_TRANSPORT);
        fired++;
    }
    if (record->generation != generation)
        return fired;
    if (expired(core, record->application_deadline)) {
        fire(core, index, TIMER_APPLICATION);
        fired++;
    }
    if (record->generation != generation)
        return fired;
    uint32_t deadline = earliest(record);
    if (deadline)
        queue(core, index, deadline);
    return fired;
}

static uint32_t look_entry(struct core *core, uint32_t index, uint32_t entry) {
    struct record *record = &core->records[index];
    if (!record_taken(core, index))
        return 0;
    struct standing standing = standing_of(record);
    if (standing.near == entry) {
        standing.near = 0;
        remember(record, 0, standing);
        return look(core, index);
    }
    if (standing.middle == entry)
        standing.middle = 0;
    else if (standing.far == entry)
        standing.far = 0;
    remember(record, record->queued, standing);
    return 0;
}

/* The tick of the first slot with entries after wheel_tick; only if there is one. */
static uint32_t next_tick(const struct core *core, int *found) {
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
            uint32_t tick = slot_tick(core, level * LEVEL_SLOTS + at * 64 + (uint32_t)__builtin_ctzll(bits));
            if (!*found || before(tick, best))
                best = tick;
            *found = 1;
            break;
        }
    }
    return best;
}

/* Moves wheel_tick to the next slots due by now, and those to `due`; 0: nothing is due. */
static int advance(struct core *core) {
    struct wheel *wheel = wheel_of(core);
    struct core_state *state = core->state;
    int found;
    if (!before(state->wheel_tick, core->tick))
        return 0;
    uint32_t tick = state->wheel_entries ? next_tick(core, &found) : 0;
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
    return due->count < PIECE ? due->count : PIECE;
}

static void fetch_records(const struct core *core, const uint32_t *index, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(&core->records[index[i]], 1);
        __builtin_prefetch(&core->records[index[i]].application, 1);
    }
}

/* Takes a piece off one level's due list; how many entries. The next piece's records are on their way while this one is
 * looked at, be it in the next turn. */
static uint32_t take_piece(struct core *core, uint32_t level, uint32_t *index) {
    struct slot *due = &wheel_of(core)->due[level];
    uint32_t number = due->chunk, count = piece_of(due);
    struct chunk *chunk = chunk_at(core, number);
    due->count -= count;
    core->state->wheel_entries -= count;
    memcpy(index, chunk->index + due->count, count * sizeof *index);
    fetch_records(core, index, count);
    if (!due->count) {
        *due = (struct slot){chunk->next, CHUNK_ENTRIES};
        chunk->next = core->state->chunk_free;
        core->state->chunk_free = number;
        if (!due->chunk)
            return count;
        chunk = chunk_at(core, due->chunk);
        if (chunk->next)
            __builtin_prefetch(chunk_at(core, chunk->next));
    }
    fetch_records(core, chunk->index + due->count - piece_of(due), piece_of(due));
    return count;
}

/* A retransmission reads the busy block: all of a piece's at once. */
static void fetch_busy(const struct core *core, const uint32_t *index, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct record *record = &core->records[index[i]];
        if (!record->busy || !expired(core, record->transport_deadline))
            continue;
        __builtin_prefetch(&core->busy[record->busy], 1);
        __builtin_prefetch(&core->busy[record->busy].rto_deadline, 1);
    }
}

/* Looks at one piece; returns its entries. */
static uint32_t look_piece(struct core *core, uint32_t level, uint32_t *fired) {
    uint32_t index[PIECE], entry = wheel_of(core)->due_slot[level] + 1;
    uint32_t count = take_piece(core, level, index);
    fetch_busy(core, index, count);
    for (uint32_t i = 0; i < count; i++)
        *fired += look_entry(core, index[i], entry);
    return count;
}

/* When a chunk was missing some record stands in no slot: walk all records until none does. */
static uint32_t sweep(struct core *core) {
    struct core_state *state = core->state;
    uint32_t looked = 0;
    while (state->wheel_missed && looked < SWEEP) {
        if (state->wheel_sweep >= state->record_fresh) {
            state->wheel_missed = state->wheel_missed == 1 ? 2 : 0;
            state->wheel_sweep = 1;
            break;
        }
        uint32_t index = state->wheel_sweep++;
        const struct record *record = &core->records[index];
        if (record_taken(core, index) && !record->queued && earliest(record))
            look(core, index);
        looked++;
    }
    return looked;
}

uint32_t timer_poll(struct core *core, uint32_t budget) {
    struct wheel *wheel = wheel_of(core);
    uint32_t swept = core->state->wheel_missed ? sweep(core) : 0, looked = 0, fired = 0;
    if (budget > TIMER_BUDGET)
        budget = TIMER_BUDGET;
    do {
        for (uint32_t level = 0; level < LEVELS; level++)
            while (wheel->due[level].chunk && looked < budget && fired < TIMER_FIRES)
                looked += look_piece(core, level, &fired);
    } while (looked < budget && fired < TIMER_FIRES && advance(core));
    return swept + looked;
}

void timer_recover(struct core *core) {
    struct core_state *state = core->state;
    memset(wheel_of(core), 0, sizeof(struct wheel));
    state->chunk_free = 0;
    state->chunk_fresh = 1;
    state->wheel_entries = 0;
    state->wheel_missed = 0;
    state->wheel_sweep = 1;
    uint32_t index = state->firing & ((1u << RECORD_INDEX_BITS) - 1);
    uint32_t soon = state->wheel_tick + 1 ? state->wheel_tick + 1 : 1;
    if (record_taken(core, index)) {
        uint32_t transport = !(state->firing >> RECORD_INDEX_BITS);
        struct record *record = &core->records[index];
        uint32_t *deadline = transport ? &record->transport_deadline : &record->application_deadline;
        if (!*deadline)
            *deadline = soon;
    }
    CRASH_POINT(timer_firing_restored);
    state->firing = 0;
    for (index = 1; index < state->record_fresh; index++) {
        if (!record_taken(core, index))
            continue;
        remember(&core->records[index], 0, (struct standing){0, 0, 0});
        uint32_t deadline = earliest(&core->records[index]);
        if (deadline)
            queue(core, index, deadline);
    }
}

uint32_t timer_next(const struct core *core, uint32_t most) {
    const struct wheel *wheel = wheel_of(core);
    int found;
    for (uint32_t level = 0; level < LEVELS; level++)
        if (wheel->due[level].chunk)
            return 0;
    if (core->state->wheel_missed)
        return most < 1 ? most : 1;
    if (!core->state->wheel_entries)
        return most;
    uint32_t tick = next_tick(core, &found);
    if (!found)
        return most;
    if (!before(core->tick, tick))
        return 0;
    return tick - core->tick < most ? tick - core->tick : most;
}
