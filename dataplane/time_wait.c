/* Connections in TIME-WAIT. Entries form a FIFO: entry number n lives in slot 1 + n % entries; state's head and tail
 * are the oldest number and the next one, both modulo 2 * entries, so that full and empty differ and slots stay in
 * step for ever. The index is an array of chain heads behind the entries. Knows no packets. */
#include "time_wait.h"

#include <string.h>
#include "core.h"
#include "stats.h"
#include "table.h"

_Static_assert(sizeof(struct time_wait) == 32, "two a cache line");

enum { INDEX_MASK = 0xffffff };

static uint32_t heads_of(uint64_t entries) {
    uint32_t heads = 16;
    while (heads < entries) {
        heads *= 2;
    }
    return heads;
}

uint64_t time_wait_bytes(uint64_t entries) {
    return (entries + 1) * sizeof(struct time_wait) + (uint64_t)heads_of(entries) * sizeof(uint32_t);
}

static struct time_wait *entry_at(const struct core *core, uint32_t slot) {
    return (struct time_wait *)core->time_wait + slot;
}

static uint32_t slot_of(const struct core *core, uint32_t number) {
    return 1 + number % core->time_wait_entries;
}

static uint32_t after(const struct core *core, uint32_t number) {
    return number + 1 == 2 * core->time_wait_entries ? 0 : number + 1;
}

static uint32_t *head_of(const struct core *core, uint32_t hash) {
    uint32_t *heads = (uint32_t *)entry_at(core, core->time_wait_entries + 1);
    return &heads[hash & (heads_of(core->time_wait_entries) - 1)];
}

static void set_next(struct time_wait *entry, uint32_t slot) {
    entry->next_flags = (entry->next_flags & ~(uint32_t)INDEX_MASK) | slot;
}

static uint32_t next_of(const struct time_wait *entry) {
    return entry->next_flags & INDEX_MASK;
}

static void unlink_slot(struct core *core, uint32_t slot, uint32_t hash) {
    uint32_t *head = head_of(core, hash);
    if (*head == slot) {
        *head = next_of(entry_at(core, slot));
        return;
    }
    for (uint32_t at = *head; at; at = next_of(entry_at(core, at))) {
        if (next_of(entry_at(core, at)) == slot) {
            set_next(entry_at(core, at), next_of(entry_at(core, slot)));
            return;
        }
    }
}

static void drop_oldest(struct core *core) {
    struct time_wait *oldest = entry_at(core, slot_of(core, core->state->time_wait_head));
    if (oldest->flow.remote_port) {
        time_wait_remove(core, oldest, table_hash(core, &oldest->flow));
    }
    core->state->time_wait_head = after(core, core->state->time_wait_head);
}

void time_wait_insert(struct core *core, const struct time_wait *entry, uint32_t hash) {
    if (!core->time_wait_entries) {
        return;
    }
    struct core_state *state = core->state;
    if (time_wait_count(core) == core->time_wait_entries) {
        core->counters[COUNTER_TIME_WAIT_RECYCLED] +=
            entry_at(core, slot_of(core, state->time_wait_head))->flow.remote_port != 0;
        drop_oldest(core);
    }
    uint32_t slot = slot_of(core, state->time_wait_tail);
    uint32_t *head = head_of(core, hash);
    *entry_at(core, slot) = *entry;
    set_next(entry_at(core, slot), *head);
    /* Whole before it counts: adoption rebuilds the index from the entries between head and tail. */
    __atomic_store_n(&state->time_wait_tail, after(core, state->time_wait_tail), __ATOMIC_RELEASE);
    *head = slot;
}

struct time_wait *time_wait_find(struct core *core, const struct flow *flow, uint32_t hash) {
    if (core->state->time_wait_head == core->state->time_wait_tail) {
        return NULL;
    }
    for (uint32_t slot = *head_of(core, hash); slot; slot = next_of(entry_at(core, slot))) {
        if (memcmp(&entry_at(core, slot)->flow, flow, sizeof *flow) == 0) {
            return entry_at(core, slot);
        }
    }
    return NULL;
}

void time_wait_remove(struct core *core, struct time_wait *entry, uint32_t hash) {
    unlink_slot(core, (uint32_t)(entry - (struct time_wait *)core->time_wait), hash);
    entry->flow.remote_port = 0;
}

uint32_t time_wait_expire(struct core *core, uint32_t budget) {
    uint32_t dropped = 0;
    while (dropped < budget && core->state->time_wait_head != core->state->time_wait_tail) {
        struct time_wait *oldest = entry_at(core, slot_of(core, core->state->time_wait_head));
        if (oldest->flow.remote_port && (int32_t)(core->tick - oldest->expires) < 0) {
            break;
        }
        drop_oldest(core);
        dropped++;
    }
    return dropped;
}

void time_wait_recover(struct core *core) {
    if (!core->time_wait_entries) {
        return;
    }
    memset(head_of(core, 0), 0, heads_of(core->time_wait_entries) * sizeof(uint32_t));
    for (uint32_t at = core->state->time_wait_head; at != core->state->time_wait_tail; at = after(core, at)) {
        struct time_wait *entry = entry_at(core, slot_of(core, at));
        if (entry->flow.remote_port) {
            uint32_t *head = head_of(core, table_hash(core, &entry->flow));
            set_next(entry, *head);
            *head = slot_of(core, at);
        }
    }
}

uint32_t time_wait_count(const struct core *core) {
    uint32_t head = core->state->time_wait_head, tail = core->state->time_wait_tail;
    return tail >= head ? tail - head : tail + 2 * core->time_wait_entries - head;
}
