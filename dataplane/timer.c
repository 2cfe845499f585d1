/* Deadlines in the wheel: an entry is looked at when its slot comes round; then the record says whether to fire, to
 * look again later, or nothing. A slot's width is rounded down, so the last look is on the very tick. What has an entry
 * is a record or, for the transport's deadline while there is one, its busy block: few of these serve many connections
 * in turn, and a block's entry with them, so that an answered request leaves nothing behind to be looked at. Rebuilt by
 * adoption, hence no intents. Knows no protocol. */
#include "timer.h"

#include "actor.h"
#include "buffer.h"
#include "core.h"
#include "crash.h"
#include "inline.h"
#include "record.h"
#include "record_pool.h"
#include "transport.h"
#include "wheel.h"

enum { SWEEP = 64 /* records a turn */ };
enum { BLOCK = 1u << 31 /* in an entry: it is a busy block's */ };

_Static_assert(RECORD_INDEX_BITS < 31, "records' entries lie below the mark");

/* The nearer of two deadlines that are set, or 0. */
static uint32_t nearer(uint32_t a, uint32_t b) {
    if (!a || !b)
        return a | b;
    return before(a, b) ? a : b;
}

/* Who has entries in the wheel, and where it keeps what it knows of them. */
struct holder {
    uint32_t entry;
    uint32_t *queued; /* tick at which the wheel will look next, 0 = it has no entry that counts */
    uint32_t *places; /* the lower bits: where its entries are */
};

static struct holder holder_record(const struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    return (struct holder){index, &record->queued, &record->next};
}

static struct holder holder_block(const struct core *core, uint32_t block) {
    struct busy *busy = &core->busy[block];
    return (struct holder){block | BLOCK, &busy->queued, &busy->places};
}

/* What the record's own entry must not miss. */
static uint32_t own_deadline(const struct record *record) {
    return nearer(record->application_deadline, record->busy ? 0 : record->transport_deadline);
}

/* And its block's. */
static uint32_t block_deadline(const struct record *record) {
    return record->busy ? record->transport_deadline : 0;
}

/* A holder remembers three entries that stand for it, as slot + 1, 0 = none: the one looked at first (its tick is
 * `queued`) and two farther ones, to which it returns instead of adding another. When a fourth comes the nearest is
 * forgotten, and goes stale where it is: it will be gone soonest. Without this a holder whose deadlines swing between
 * near and far (an hour's idle time, a second's RTO, a delayed ACK) would leave an entry behind at each swing. */
enum { ENTRY_BITS = 11, ENTRY_MASK = (1 << ENTRY_BITS) - 1, PLACES_MASK = (4 << 2 * ENTRY_BITS) - 1 };

_Static_assert(RECORD_TAKEN > 4 << 2 * ENTRY_BITS, "a level and two entries lie below the mark");

struct standing {
    uint32_t near, middle, far;
};

static struct standing standing_of(struct holder holder) {
    uint32_t level = *holder.places >> 2 * ENTRY_BITS & 3;
    uint32_t slot = level * WHEEL_LEVEL_SLOTS + (*holder.queued >> WHEEL_LEVEL_SHIFT * level) % WHEEL_LEVEL_SLOTS;
    return (struct standing){*holder.queued ? slot + 1 : 0, *holder.places >> ENTRY_BITS & ENTRY_MASK,
                             *holder.places & ENTRY_MASK};
}

static void remember(struct holder holder, uint32_t tick, struct standing standing) {
    uint32_t level = standing.near ? (standing.near - 1) / WHEEL_LEVEL_SLOTS : 0;
    *holder.queued = standing.near ? tick : 0;
    *holder.places = (*holder.places & ~(uint32_t)PLACES_MASK) | level << 2 * ENTRY_BITS |
                     standing.middle << ENTRY_BITS | standing.far;
}

/* Without a near entry, one of the farther may do; 1 if it does. */
static int promote(struct core *core, struct holder holder, struct standing standing, uint32_t deadline) {
    uint32_t *next = standing.middle ? &standing.middle : &standing.far;
    uint32_t tick = *next ? wheel_slot_tick(core, *next - 1) : 0;
    if (!tick || before(deadline, tick))
        return 0;
    standing.near = *next;
    *next = 0;
    remember(holder, tick, standing);
    return 1;
}

/* The holder isn't looked at in time yet. */
static NEVER_INLINE void queue_nearer(struct core *core, struct holder holder, uint32_t deadline) {
    struct standing standing = standing_of(holder);
    uint32_t tick;
    if (!standing.near && promote(core, holder, standing, deadline))
        return;
    if (standing.near && !standing.far) {
        standing.far = standing.middle;
        standing.middle = standing.near;
    } else if (standing.near && !standing.middle) {
        standing.middle = standing.near;
    }
    standing.near = wheel_slot(core, deadline, &tick) + 1;
    if (wheel_push(core, standing.near - 1, holder.entry)) {
        core->state->wheel_missed = 1;
        standing.near = 0;
    }
    remember(holder, tick, standing);
}

/* Makes sure that the holder is looked at no later than at `deadline`. */
static void queue(struct core *core, struct holder holder, uint32_t deadline) {
    if (deadline && (!*holder.queued || before(deadline, *holder.queued)))
        queue_nearer(core, holder, deadline);
}

/* Whatever is set of a record's deadlines. Where one isn't queued, its other deadline may have missed a chunk. */
static void queue_all(struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    if (record->busy)
        queue(core, holder_block(core, record->busy), block_deadline(record));
    queue(core, holder_record(core, index), own_deadline(record));
}

/* An empty wheel has not moved. */
static void awake(struct core *core) {
    if (!core->state->wheel_entries)
        core->state->wheel_tick = core->tick;
}

void timer_set(struct core *core, uint32_t index, enum timer_which which, uint32_t deadline) {
    struct record *record = &core->records[index];
    if (which == TIMER_TRANSPORT)
        record->transport_deadline = deadline;
    else
        record->application_deadline = deadline;
    awake(core);
    if (which == TIMER_TRANSPORT && record->busy)
        queue(core, holder_block(core, record->busy), deadline);
    else
        queue(core, holder_record(core, index), record->queued ? deadline : own_deadline(record));
}

void timer_clear(struct core *core, uint32_t index, enum timer_which which) {
    if (which == TIMER_TRANSPORT)
        core->records[index].transport_deadline = 0;
    else
        core->records[index].application_deadline = 0;
}

void timer_left(struct core *core, uint32_t index) {
    awake(core);
    queue(core, holder_record(core, index), core->records[index].transport_deadline);
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
    queue_all(core, index);
    return fired;
}

/* The record that an entry stands for, or RECORD_NONE: a record freed since, a block that nobody has. */
static uint32_t record_of(const struct core *core, uint32_t entry) {
    uint32_t index = entry & BLOCK ? core->busy[entry & ~(uint32_t)BLOCK].owner : entry;
    return record_taken(core, index) ? index : RECORD_NONE;
}

static uint32_t look_entry(struct core *core, uint32_t entry, uint32_t slot) {
    if (!(entry & BLOCK) && !record_taken(core, entry)) /* a free one keeps other things there */
        return 0;
    struct holder holder = entry & BLOCK ? holder_block(core, entry & ~(uint32_t)BLOCK) : holder_record(core, entry);
    struct standing standing = standing_of(holder);
    if (standing.near == slot + 1) {
        standing.near = 0;
        remember(holder, 0, standing);
        uint32_t index = record_of(core, entry);
        return index ? look(core, index) : 0;
    }
    if (standing.middle == slot + 1)
        standing.middle = 0;
    else if (standing.far == slot + 1)
        standing.far = 0;
    remember(holder, *holder.queued, standing);
    return 0;
}

static void fetch_record(const struct core *core, uint32_t index) {
    __builtin_prefetch(&core->records[index], 1);
    __builtin_prefetch(&core->records[index].application, 1);
}

static void fetch_block(const struct core *core, uint32_t block) {
    __builtin_prefetch(&core->busy[block], 1);
    __builtin_prefetch(&core->busy[block].rto_deadline, 1);
}

static void fetch_holders(const struct core *core, const uint32_t *entry, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (entry[i] & BLOCK)
            fetch_block(core, entry[i] & ~(uint32_t)BLOCK);
        else
            fetch_record(core, entry[i]);
    }
}

/* The other half of what a look reads: all of a piece's at once. */
static void fetch_owners(const struct core *core, const uint32_t *entry, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t owner = entry[i] & BLOCK ? core->busy[entry[i] & ~(uint32_t)BLOCK].owner : RECORD_NONE;
        if (owner)
            fetch_record(core, owner);
    }
}

/* Looks at one piece; returns its entries. The next piece's are on their way meanwhile, be it into the next turn. */
static uint32_t look_piece(struct core *core, uint32_t level, uint32_t *fired) {
    struct wheel_piece piece;
    wheel_take(core, level, &piece);
    fetch_holders(core, piece.entry, piece.count);
    fetch_holders(core, piece.ahead, piece.ahead_count);
    fetch_owners(core, piece.entry, piece.count);
    for (uint32_t i = 0; i < piece.count; i++)
        *fired += look_entry(core, piece.entry[i], piece.slot);
    return piece.count;
}

static int missed(const struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    return record_taken(core, index) &&
           ((own_deadline(record) && !record->queued) || (block_deadline(record) && !core->busy[record->busy].queued));
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
        if (missed(core, index))
            look(core, index);
        looked++;
    }
    return looked;
}

uint32_t timer_poll(struct core *core, uint32_t budget) {
    uint32_t swept = core->state->wheel_missed ? sweep(core) : 0, looked = 0, fired = 0;
    if (budget > TIMER_BUDGET)
        budget = TIMER_BUDGET;
    do {
        for (uint32_t level = 0; level < WHEEL_LEVELS; level++)
            while (wheel_due(core, level) && looked < budget && fired < TIMER_FIRES)
                looked += look_piece(core, level, &fired);
    } while (looked < budget && fired < TIMER_FIRES && wheel_advance(core));
    return swept + looked;
}

void timer_recover(struct core *core) {
    struct core_state *state = core->state;
    wheel_clear(core);
    for (uint32_t block = 1; block < state->busy_fresh; block++)
        remember(holder_block(core, block), 0, (struct standing){0, 0, 0});
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
        remember(holder_record(core, index), 0, (struct standing){0, 0, 0});
        queue_all(core, index);
    }
}

uint32_t timer_next(const struct core *core, uint32_t most) {
    int found;
    for (uint32_t level = 0; level < WHEEL_LEVELS; level++)
        if (wheel_due(core, level))
            return 0;
    if (core->state->wheel_missed)
        return most < 1 ? most : 1;
    if (!core->state->wheel_entries)
        return most;
    uint32_t tick = wheel_next(core, &found);
    if (!found)
        return most;
    if (!before(core->tick, tick))
        return 0;
    return tick - core->tick < most ? tick - core->tick : most;
}
