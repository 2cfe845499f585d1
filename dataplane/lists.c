/* The core's lists of records that want something: output at the end of this turn (pending), or their kept bytes
 * offered in the next (again). Owned by the core. A flag in the record says that it wants; the lists are shorter than
 * the connections are many, so what finds no place has only its flag, until a sweep over the records meets it. */
#include <string.h>

#include "lists.h"
#include "inline.h"
#include "record.h"

enum {
    SWEEP = 4096,   /* records looked at a turn */
    RESERVE = 1024, /* places kept for the sweep while it is needed, so that it gets some */
};

static int has_place(const struct record_list *list, uint32_t index) {
    return list->listed && list->listed[index / 64] >> index % 64 & 1;
}

static void put(struct record_list *list, uint32_t index) {
    uint64_t place = (uint64_t)list->next + list->count++;
    list->places[place < list->room ? place : place - list->room] = index;
    if (list->listed)
        list->listed[index / 64] |= 1ull << index % 64;
}

static uint32_t take(struct record_list *list) {
    uint32_t index = list->places[list->next];
    list->next = list->next + 1 < list->room ? list->next + 1 : 0;
    list->count--;
    if (list->listed)
        list->listed[index / 64] &= ~(1ull << index % 64);
    return index;
}

static NEVER_INLINE void enlist(struct core *core, struct record_list *list, uint32_t index) {
    if (has_place(list, index)) /* it was dropped, and its entry still stands */
        return;
    uint32_t kept = !list->unswept ? 0 : list->room > RESERVE ? RESERVE : list->room;
    if (list->count + kept < list->room)
        put(list, index);
    else
        list->unswept = core->state->record_fresh - 1; /* each record once */
}

static void add(struct core *core, struct record_list *list, enum record_flag flag, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->flags & flag)
        return;
    record->flags |= flag;
    enlist(core, list, index);
}

static uint32_t pop(struct core *core, struct record_list *list, enum record_flag flag) {
    uint32_t index = take(list);
    if (!(core->records[index].flags & flag))
        return 0;
    core->records[index].flags &= (uint16_t)~flag;
    return index;
}

static uint32_t sweep(struct core *core, struct record_list *list, enum record_flag flag, uint32_t most) {
    uint32_t looked = 0;
    if (list->count && !list->listed) /* a flag would not tell a record without a place */
        return 0;
    for (; looked < most && list->unswept && list->count < list->room; looked++, list->unswept--) {
        list->sweep = list->sweep < core->state->record_fresh ? list->sweep : 1;
        uint32_t index = list->sweep++;
        if (core->records[index].flags & flag && !has_place(list, index))
            put(list, index);
    }
    return looked;
}

uint32_t lists_sweep(struct core *core) {
    return sweep(core, &core->pending, FLAG_PENDING, SWEEP) + sweep(core, &core->again, FLAG_AGAIN, SWEEP);
}

void again_add(struct core *core, uint32_t index) {
    add(core, &core->again, FLAG_AGAIN, index);
}

uint32_t again_pop(struct core *core) {
    return pop(core, &core->again, FLAG_AGAIN);
}

void again_drop(struct core *core, uint32_t index) {
    core->records[index].flags &= (uint16_t)~FLAG_AGAIN;
}

void actor_pend(struct core *core, uint32_t index) {
    add(core, &core->pending, FLAG_PENDING, index);
}

uint32_t pending_pop(struct core *core) {
    return pop(core, &core->pending, FLAG_PENDING);
}

static void rebuild(struct core *core, struct record_list *list, enum record_flag flag) {
    while (list->count)
        take(list);
    list->unswept = core->state->record_fresh - 1; /* each record once */
    sweep(core, list, flag, UINT32_MAX);
}

void lists_rebuild(struct core *core) {
    rebuild(core, &core->pending, FLAG_PENDING);
    rebuild(core, &core->again, FLAG_AGAIN);
}
