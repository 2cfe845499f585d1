/* The last resort against a wedge: buffers are given out to whoever asks, so requests that never end and peers that
 * never read may come to hold all of them. While that lasts longer than a second, whoever holds memory and has moved
 * too little of it for longest (for STUCK at least) is reset, counted; the others go on. What else its peer says keeps
 * nothing. Owned by the core. */
#include "relief.h"

#include "buffer.h"
#include "core.h"
#include "count.h"
#include "handler.h"
#include "record.h"
#include "stream.h"
#include "table.h"

/* Milliseconds that a shortage lasts before somebody is reset, that this one has been stuck, between two resets, and
 * without a want until it counts as over; busy blocks compared for one reset. */
enum { SHORTAGE = 1000, STUCK = 250, BETWEEN = 10, OVER = 500, COMPARED = 4096 };

void relief_want(struct core *core) {
    core->shortage_last = core->tick;
    core->shortage_felt = 1;
    if (!core->shortage_since)
        core->shortage_since = core->tick;
}

static uint32_t owner_at(const struct core *core, uint32_t block) {
    uint32_t owner = core->busy[block].owner;
    if (!owner || core->records[owner].busy != block || !(core->records[owner].flags & FLAG_OPENED) ||
        (core->records[owner].flags & FLAG_ABORTING))
        return RECORD_NONE;
    return owner;
}

struct candidates {
    uint32_t stuck, age;    /* who has moved too little for longest, and for how long */
    uint32_t largest, held; /* who waits for us and holds most; of equals, the youngest: it is served last anyway */
    uint32_t others, waiting_age; /* how many don't wait for us; age of the largest */
};

static void consider(struct core *core, uint32_t block, struct candidates *found) {
    uint32_t owner = owner_at(core, block), age = core->tick - core->busy[block].moved;
    if (!owner)
        return;
    if (!stream_waits(core, owner)) {
        found->others++;
        if (age >= STUCK && age > found->age) {
            found->stuck = owner;
            found->age = age;
        }
        return;
    }
    uint32_t held = stream_held(&core->busy[block]);
    if (held > found->held || (held == found->held && age < found->waiting_age)) {
        found->largest = owner;
        found->held = held;
        found->waiting_age = age;
    }
}

/* Those that wait for us pay only where nobody else holds anything: then they wait for each other. */
static uint32_t who_pays(struct core *core) {
    struct candidates found = {0};
    uint32_t end = core->state->busy_fresh, most = end < COMPARED ? end : COMPARED;
    for (uint32_t i = 0; i < most; i++) {
        core->relief_block = core->relief_block + 1 < end ? core->relief_block + 1 : 1;
        if (core->relief_block < end)
            consider(core, core->relief_block, &found);
    }
    return found.others ? found.stuck : found.largest;
}

/* Someone wants since the last reset, or nothing at all is free: then nobody need say so, as a peer whose segment was
 * dropped doesn't for a while. */
static int still_short(struct core *core) {
    return core->shortage_felt || !busy_left(core) || !buffer_largest(core, BUFFER_CLASS_MAX);
}

void relief_turn(struct core *core) {
    if (!core->shortage_since)
        return;
    if (core->tick - core->shortage_last > OVER) {
        core->shortage_since = 0;
        return;
    }
    if (core->tick - core->shortage_since < SHORTAGE || !still_short(core))
        return;
    uint32_t victim = who_pays(core);
    if (victim) {
        core->shortage_felt = 0;
        count(core, COUNTER_BUFFER_EVICTED, 1);
        connection_abort(core, victim, CLOSE_OVERFLOW);
    }
    uint32_t since = core->tick - SHORTAGE + BETWEEN;
    core->shortage_since = since ? since : 1;
}
