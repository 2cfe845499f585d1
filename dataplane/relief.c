/* The last resort against a wedge: buffers are given out to whoever asks, so requests that never end and peers that
 * never read may come to hold all of them. While that lasts longer than a second, the connection silent for longest
 * (and for SILENT at least) among those that hold memory is reset, counted; the others go on. Owned by the core. */
#include "relief.h"

#include "buffer.h"
#include "core.h"
#include "count.h"
#include "handler.h"
#include "record.h"
#include "table.h"

/* Milliseconds that a shortage lasts before somebody is reset, that this one has been silent, between two resets, and
 * without a want until it counts as over; busy blocks compared for one reset. */
enum { SHORTAGE = 1000, SILENT = 250, BETWEEN = 10, OVER = 500, COMPARED = 4096 };

void relief_want(struct core *core) {
    core->shortage_last = core->tick;
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

static uint32_t most_silent(struct core *core) {
    uint32_t found = RECORD_NONE, longest = 0, end = core->state->busy_fresh;
    uint32_t most = end < COMPARED ? end : COMPARED;
    for (uint32_t i = 0; i < most; i++) {
        core->relief_block = core->relief_block + 1 < end ? core->relief_block + 1 : 1;
        uint32_t owner = core->relief_block < end ? owner_at(core, core->relief_block) : RECORD_NONE;
        uint32_t silent = core->tick - core->records[owner].last_activity;
        if (owner && silent >= SILENT && silent > longest) {
            found = owner;
            longest = silent;
        }
    }
    return found;
}

void relief_turn(struct core *core) {
    if (!core->shortage_since)
        return;
    if (core->tick - core->shortage_last > OVER) {
        core->shortage_since = 0;
        return;
    }
    if (core->tick - core->shortage_since < SHORTAGE)
        return;
    uint32_t victim = most_silent(core);
    if (victim) {
        count(core, COUNTER_BUFFER_EVICTED, 1);
        connection_abort(core, victim, CLOSE_OVERFLOW);
    }
    uint32_t since = core->tick - SHORTAGE + BETWEEN;
    core->shortage_since = since ? since : 1;
}
