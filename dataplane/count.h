/* Adding to a core's counters: one writer, so a plain add; relaxed, because others read while it happens. */
#pragma once

#include "core.h"
#include "stats.h"

static inline void count(struct core *core, enum counter counter, uint64_t amount) {
    uint64_t value = __atomic_load_n(&core->counters[counter], __ATOMIC_RELAXED);
    __atomic_store_n(&core->counters[counter], value + amount, __ATOMIC_RELAXED);
}
