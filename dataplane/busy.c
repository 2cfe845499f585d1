/* Busy blocks: what a connection with bytes in hand holds. A block is owned once its record names it, a buffer once its
 * block does; adoption rebuilds both pools from that. */
#include <string.h>

#include "buffer.h"
#include "core.h"
#include "crash.h"
#include "inline.h"
#include "islands.h"
#include "record.h"
#include "push.h"
#include "record_pool.h"
#include "share.h"
#include "timer.h"

enum { UNIT = 64, OWNED = 255 /* in the map while recovering: no class */ };

struct busy *busy_of(struct core *core, uint32_t index) {
    uint32_t block = core->records[index].busy;
    return block ? &core->busy[block] : NULL;
}

int busy_left(const struct core *core) {
    return core->state->busy_free || core->state->busy_fresh <= core->busy_blocks;
}

struct busy *busy_take(struct core *core, uint32_t index) {
    struct core_state *state = core->state;
    uint32_t block = core->records[index].busy;
    if (block)
        return &core->busy[block];
    if (state->busy_free) {
        block = state->busy_free;
        state->busy_free = core->busy[block].next;
    } else if (state->busy_fresh <= core->busy_blocks) {
        block = state->busy_fresh++;
    } else {
        return NULL;
    }
    state->busy_used++;
    CRASH_POINT(busy_off_list);
    struct busy *busy = &core->busy[block];
    *busy = (struct busy){.owner = index, .moved = core->tick, .queued = busy->queued, .places = busy->places};
    CRASH_POINT(busy_owned);
    STORES_STAY();
    core->records[index].busy = block;
    STORES_STAY();
    return busy;
}

void busy_give_islands(struct core *core, uint32_t list) {
    const struct islands *islands = (void *)buffer_bytes_at(core, list);
    buffer_give(core, islands->buffer, islands->size_class);
    buffer_give(core, list, ISLANDS_CLASS);
}

static NEVER_INLINE void give_buffers(struct core *core, struct busy *busy) {
    share_forget(core, busy);
    if (busy->send_buffer)
        buffer_give(core, busy->send_buffer, busy->send_class);
    if (busy->receive_buffer)
        buffer_give(core, busy->receive_buffer, busy->receive_class);
    if (busy->islands)
        busy_give_islands(core, busy->islands);
}

void busy_give(struct core *core, uint32_t block) {
    struct busy *busy = &core->busy[block];
    if (busy->shared_list | busy->send_buffer | busy->receive_buffer | busy->islands)
        give_buffers(core, busy);
    CRASH_POINT(busy_buffers_given);
    busy->owner = 0;
    busy->next = core->state->busy_free;
    CRASH_POINT(busy_linked);
    core->state->busy_free = block;
    core->state->busy_used--;
}

void busy_discard(struct core *core, uint32_t index) {
    uint32_t block = core->records[index].busy;
    if (!block)
        return;
    core->records[index].busy = 0;
    CRASH_POINT(busy_left);
    timer_left(core, index);
    busy_give(core, block);
}

void busy_release(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    if (busy && !busy->send_length && !busy->receive_length && !busy->shared_list && !busy->need && !busy->islands &&
        !busy->rto_deadline && !busy->ack_deadline && !busy->persist_deadline)
        busy_discard(core, index);
}

int buffer_mark(struct core *core, uint32_t buffer, uint32_t size_class) {
    uint8_t *map = core->buffers + core->buffer_bytes;
    if (size_class < BUFFER_CLASS_MIN || size_class > BUFFER_CLASS_MAX)
        return -1;
    uint32_t units = 1u << (size_class - BUFFER_CLASS_MIN);
    if (buffer & (units - 1) || ((uint64_t)buffer + units) * UNIT > core->state->buffer_fresh)
        return -1;
    for (uint32_t i = 0; i < units; i++)
        if (map[buffer + i] == OWNED)
            return -1;
    memset(map + buffer, OWNED, units);
    return 0;
}

static void mark_block(struct core *core, struct busy *busy) {
    busy->islands = 0; /* not acknowledged: it comes again */
    if (busy->send_buffer && buffer_mark(core, busy->send_buffer, busy->send_class)) {
        busy->send_buffer = 0;
        busy->send_length = 0;
    }
    if (busy->receive_buffer && buffer_mark(core, busy->receive_buffer, busy->receive_class)) {
        busy->receive_buffer = 0;
        busy->receive_length = 0;
    }
    share_recover(core, busy);
    if (busy->shared_list && buffer_mark(core, busy->shared_list, busy->shared_class))
        busy->shared_list = 0;
    share_uncount(core, busy);
}

/* Every run of units that nobody owns goes back, cut at the alignment of each class. */
static void free_the_rest(struct core *core) {
    uint8_t *map = core->buffers + core->buffer_bytes;
    uint32_t end = (uint32_t)(core->state->buffer_fresh / UNIT);
    for (uint32_t unit = 1; unit < end;) {
        if (map[unit] == OWNED) {
            map[unit++] = 0;
            continue;
        }
        const uint8_t *owned = memchr(map + unit, OWNED, end - unit);
        uint32_t stop = owned ? (uint32_t)(owned - map) : end;
        while (unit < stop) {
            uint32_t size_class = BUFFER_CLASS_MAX;
            while (unit & ((1u << (size_class - BUFFER_CLASS_MIN)) - 1) ||
                   unit + (1u << (size_class - BUFFER_CLASS_MIN)) > stop)
                size_class--;
            buffer_give(core, unit, size_class);
            unit += 1u << (size_class - BUFFER_CLASS_MIN);
        }
    }
}

static void recover_blocks(struct core *core) {
    struct core_state *state = core->state;
    state->busy_free = 0;
    state->busy_used = 0;
    for (uint32_t block = state->busy_fresh - 1; block; block--) {
        struct busy *busy = &core->busy[block];
        if (record_taken(core, busy->owner) && core->records[busy->owner].busy == block) {
            mark_block(core, busy);
            state->busy_used++;
            continue;
        }
        busy->owner = 0;
        busy->next = state->busy_free;
        state->busy_free = block;
    }
}

void buffer_recover(struct core *core) {
    struct core_state *state = core->state;
    memset(core->buffers + core->buffer_bytes, 0, state->buffer_fresh / UNIT);
    memset(state->buffer_free, 0, sizeof state->buffer_free);
    memset(state->buffer_count, 0, sizeof state->buffer_count);
    core->buffer_classes = 0;
    state->buffers_at_hand = 0;
    recover_blocks(core);
    push_recover(core);
    for (uint32_t block = 1; block < state->busy_fresh; block++)
        if (core->busy[block].owner)
            share_count(core, &core->busy[block]);
    free_the_rest(core);
}
