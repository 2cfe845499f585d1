/* The core's lists of records that want something: output at the end of this turn (pending), or their kept bytes
 * offered in the next (again). Owned by the core; a flag in the record says that it is listed. */
#include "lists.h"
#include "record.h"

static uint32_t place(const struct core *core, uint32_t next, uint32_t offset) {
    uint64_t slot = (uint64_t)next + offset;
    return (uint32_t)(slot > core->capacity ? slot - core->capacity - 1 : slot);
}

void again_add(struct core *core, uint32_t index) {
    if (core->records[index].flags & FLAG_AGAIN)
        return;
    core->records[index].flags |= FLAG_AGAIN;
    core->again[place(core, core->again_next, core->again_count++)] = index;
}

uint32_t again_pop(struct core *core) {
    uint32_t index = core->again[core->again_next];
    core->again_next = place(core, core->again_next, 1);
    core->again_count--;
    core->records[index].flags &= (uint16_t)~FLAG_AGAIN;
    return index;
}

/* The last entry takes its place; order matters to nobody. */
void again_drop(struct core *core, uint32_t index) {
    for (uint32_t i = 0; i < core->again_count; i++) {
        uint32_t *slot = &core->again[place(core, core->again_next, i)];
        if (*slot == index) {
            *slot = core->again[place(core, core->again_next, --core->again_count)];
            break;
        }
    }
    core->records[index].flags &= (uint16_t)~FLAG_AGAIN;
}

void actor_pend(struct core *core, uint32_t index) {
    if (core->records[index].flags & FLAG_PENDING)
        return;
    core->records[index].flags |= FLAG_PENDING;
    core->pending[place(core, core->pending_next, core->pending_count++)] = index;
}

uint32_t pending_pop(struct core *core) {
    uint32_t index = core->pending[core->pending_next];
    core->pending_next = place(core, core->pending_next, 1);
    core->pending_count--;
    core->records[index].flags &= (uint16_t)~FLAG_PENDING;
    return index;
}

void lists_rebuild(struct core *core) {
    core->pending_count = core->pending_next = core->again_count = core->again_next = 0;
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        uint16_t flags = core->records[index].flags;
        core->records[index].flags &= (uint16_t) ~(FLAG_PENDING | FLAG_AGAIN);
        if (flags & FLAG_AGAIN)
            again_add(core, index);
        if (flags & FLAG_PENDING)
            actor_pend(core, index);
    }
}
