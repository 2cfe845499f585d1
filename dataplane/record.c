/* Records taken and given back, and the handles that name them. Owned by the core; knows the free list, not the index.
 */
#include <stddef.h>
#include <string.h>

#include "buffer.h"
#include "core.h"
#include "intent.h"
#include "record.h"
#include "record_pool.h"
#include "table.h"

_Static_assert(sizeof(struct record) == 128, "two cache lines");
_Static_assert(offsetof(struct record, application) == 64, "line 0 is the in-order path's");
_Static_assert(offsetof(struct record, last_activity) < 64, "every segment in order moves it");
_Static_assert(offsetof(struct record, opened) >= 64, "told when somebody looks");
_Static_assert(sizeof(struct busy) == 128, "two cache lines");
_Static_assert(offsetof(struct busy, rto_deadline) == 64, "line 0 is the streams', line 1 TCP's");
_Static_assert(offsetof(struct core_state, intent) == 64, "the supervisor's line, then the intent's");
_Static_assert(sizeof(struct flow) == 12, "hashed and compared as 12 bytes");

void record_apply(struct core *core) {
    struct core_state *state = core->state;
    const struct intent_record *intent = (const void *)&state->intent;
    struct record *record = &core->records[intent->index];
    if (intent->kind == INTENT_TAKE || intent->kind == INTENT_INSERT) {
        memset(record, 0, sizeof *record);
        CRASH_POINT(record_cleared);
        record->flow = intent->flow;
        record->hash = intent->hash;
    } else {
        record->state = STATE_CLOSED;
        record->flags = 0;
        record->busy = 0;
    }
    record->generation = intent->generation;
    record->next = intent->next;
    CRASH_POINT(record_written);
    state->record_free = intent->record_free;
    state->record_fresh = intent->record_fresh;
    CRASH_POINT(record_list_moved);
    state->live = intent->live;
}

uint32_t record_plan_take(struct core *core) {
    struct core_state *state = core->state;
    struct intent_record *intent = (void *)&state->intent;
    uint32_t index = state->record_free;
    intent->record_fresh = state->record_fresh;
    if (index) {
        intent->record_free = core->records[index].next;
        __builtin_prefetch(&core->records[intent->record_free], 1);
        __builtin_prefetch(&core->records[intent->record_free].application, 1);
    } else {
        index = state->record_fresh;
        if (index > core->capacity)
            return RECORD_NONE;
        intent->record_free = RECORD_NONE;
        intent->record_fresh = index + 1;
    }
    uint32_t generation = core->records[index].generation;
    intent->index = index;
    intent->generation = generation ? generation : 1;
    intent->next = RECORD_TAKEN;
    intent->live = state->live + 1;
    return index;
}

void record_plan_free(struct core *core, uint32_t index) {
    struct core_state *state = core->state;
    struct intent_record *intent = (void *)&state->intent;
    uint32_t generation = core->records[index].generation + 1;
    intent->index = index;
    intent->generation = generation ? generation : 1;
    intent->next = state->record_free;
    intent->record_free = index;
    intent->record_fresh = state->record_fresh;
    intent->live = state->live - 1;
}

uint32_t record_take(struct core *core) {
    struct intent_record *intent = (void *)&core->state->intent;
    uint32_t index = record_plan_take(core);
    if (index == RECORD_NONE)
        return RECORD_NONE;
    memset(&intent->flow, 0, sizeof intent->flow);
    intent->hash = 0;
    intent_write(core, INTENT_TAKE);
    record_apply(core);
    intent_clear(core);
    return index;
}

void record_free(struct core *core, uint32_t index) {
    if (!record_taken(core, index))
        return;
    uint32_t block = core->records[index].busy;
    record_plan_free(core, index);
    intent_write(core, INTENT_FREE);
    record_apply(core);
    intent_clear(core);
    if (block)
        busy_give(core, block);
}

int64_t record_handle(const struct core *core, uint32_t index) {
    return (int64_t)core->config.core_id << 56 | (int64_t)core->records[index].generation << RECORD_INDEX_BITS | index;
}

uint32_t record_of_handle(const struct core *core, int64_t handle) {
    uint32_t index = (uint32_t)handle & ((1u << RECORD_INDEX_BITS) - 1);
    if (handle <= 0 || (uint64_t)handle >> 56 != core->config.core_id || !record_taken(core, index))
        return RECORD_NONE;
    return core->records[index].generation == (uint32_t)(handle >> RECORD_INDEX_BITS) ? index : RECORD_NONE;
}
