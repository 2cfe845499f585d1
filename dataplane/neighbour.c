/* MAC addresses to answer to: open addressing over a fixed array whose entries never move. */
#include "neighbour.h"

#include <string.h>
#include "routes.h"
#include "stats.h"
#include "tcp_inside.h"

_Static_assert(sizeof(struct neighbour) == 8, "runtime/arena.h sizes the section by this");

enum { PROBES = 64, SLICE = 256 /* records a turn */, PAUSE = 1000 /* milliseconds between two walks */ };

static uint32_t place(const struct core *core, const uint8_t *address) {
    uint64_t word = 0;
    memcpy(&word, address, 6);
    word = (word ^ core->state->key[3]) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(word >> 40) % (NEIGHBOURS - 1);
}

static struct neighbour_sweep *sweep_of(const struct core *core) {
    return &tcp_of(core)->sweep;
}

static uint16_t hold(struct core *core, uint32_t index) {
    sweep_of(core)->held[index / 8] |= (uint8_t)(1 << index % 8); /* a walk under way may have passed its record */
    return (uint16_t)index;
}

uint16_t neighbour_learn(struct core *core, const uint8_t *address) {
    uint32_t start = place(core, address), empty = NEIGHBOUR_NONE;
    for (uint32_t probe = 0; probe < PROBES; probe++) { /* beyond free places: what stood there may be forgotten */
        uint32_t index = 1 + (start + probe) % (NEIGHBOURS - 1);
        const struct neighbour *entry = &core->neighbours[index];
        if (!entry->used) {
            empty = empty ? empty : index;
        } else if (memcmp(entry->address, address, 6) == 0) {
            return hold(core, index);
        }
    }
    if (!empty) {
        return NEIGHBOUR_NONE;
    }
    struct neighbour *entry = &core->neighbours[empty];
    memcpy(entry->address, address, 6);
    __atomic_store_n(&entry->used, 1, __ATOMIC_RELEASE); /* after a kill in between the entry is still free */
    sweep_of(core)->count++;
    return hold(core, empty);
}

const uint8_t *neighbour_address(const struct core *core, uint16_t index) {
    return core->neighbours[index].address;
}

const uint8_t *neighbour_of(const struct core *core, const struct record *record) {
    const uint8_t *hop = routes_hop(core, record->flow.remote_address);
    if (hop || record->neighbour == NEIGHBOUR_NONE) {
        return hop;
    }
    return neighbour_address(core, record->neighbour);
}

void neighbour_doubt(struct core *core, uint32_t address, const uint8_t *mac) {
    struct neighbour_sweep *sweep = sweep_of(core);
    struct ring *ring = core->to[CORE_CONTROL];
    const uint8_t *hop = ring ? routes_hop(core, address) : NULL;
    if (!hop || (mac && memcmp(hop, mac, 6) == 0)) {
        return;
    }
    if (sweep->doubt_second != core->tick / 1000) {
        sweep->doubt_second = core->tick / 1000;
        sweep->doubts = 0;
    }
    if (sweep->doubts++ >= NEIGHBOUR_DOUBTS_PER_SECOND) {
        return;
    }
    struct neighbour_event event = {.address = address};
    if (mac) {
        memcpy(event.mac, mac, 6);
    }
    struct ring_message message = {.kind = MESSAGE_EVENT, .type = EVENT_NEIGHBOUR, .length = sizeof event};
    core->counters[COUNTER_NEIGHBOUR_DOUBTED] += (uint64_t)(ring_put(ring, &message, &event) == 1);
}

static void forget(struct core *core) {
    struct neighbour_sweep *sweep = sweep_of(core);
    for (uint32_t index = 1; index < NEIGHBOURS; index++) {
        if (core->neighbours[index].used && !(sweep->held[index / 8] & 1 << index % 8)) {
            core->neighbours[index].used = 0;
            sweep->count--;
            core->counters[COUNTER_NEIGHBOURS_FORGOTTEN]++;
        }
    }
}

void neighbour_turn(struct core *core) {
    struct neighbour_sweep *sweep = sweep_of(core);
    if (!sweep->cursor) {
        if (sweep->count < NEIGHBOURS_CROWDED || (sweep->again && !passed(core, sweep->again))) {
            return;
        }
        memset(sweep->held, 0, sizeof sweep->held);
        sweep->cursor = 1;
    }
    uint32_t end = lesser(sweep->cursor + SLICE, core->state->record_fresh);
    for (; sweep->cursor < end; sweep->cursor++) {
        const struct record *record = &core->records[sweep->cursor];
        if (record->next >= RECORD_TAKEN) {
            hold(core, record->neighbour);
        }
    }
    if (sweep->cursor >= core->state->record_fresh) {
        forget(core);
        sweep->cursor = 0;
        sweep->again = later(core, PAUSE);
    }
}

void neighbour_recover(struct core *core) {
    struct neighbour_sweep *sweep = sweep_of(core);
    sweep->cursor = sweep->count = sweep->again = 0;
    for (uint32_t index = 1; index < NEIGHBOURS; index++) {
        sweep->count += core->neighbours[index].used;
    }
}
