/* MAC addresses of next hops: open addressing over a fixed array, nothing is ever removed. */
#include "neighbour.h"

#include <string.h>
#include "core.h"

_Static_assert(sizeof(struct neighbour) == 8, "runtime/arena.h sizes the section by this");

enum { PROBES = 64 };

static uint32_t place(const struct core *core, const uint8_t *address) {
    uint64_t word = 0;
    memcpy(&word, address, 6);
    word = (word ^ core->state->key[3]) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(word >> 40) % (NEIGHBOURS - 1);
}

uint16_t neighbour_learn(struct core *core, const uint8_t *address) {
    uint32_t start = place(core, address);
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        uint32_t index = 1 + (start + probe) % (NEIGHBOURS - 1);
        struct neighbour *entry = &core->neighbours[index];
        if (!entry->used) {
            memcpy(entry->address, address, 6);
            __atomic_store_n(&entry->used, 1, __ATOMIC_RELEASE); /* after a kill in between the entry is still free */
            return (uint16_t)index;
        }
        if (memcmp(entry->address, address, 6) == 0) {
            return (uint16_t)index;
        }
    }
    return NEIGHBOUR_NONE;
}

const uint8_t *neighbour_address(const struct core *core, uint16_t index) {
    return core->neighbours[index].address;
}
