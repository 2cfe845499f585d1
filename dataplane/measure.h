/* Times that a core takes of itself, as cheaply as can be: no clock is read for a turn, and two in about 128 handler
 * calls. Written by the owning core. */
#pragma once

#include "core.h"
#include "count.h"
#include "histogram.h"

enum {
    MEASURE_EVERY = 96,          /* calls, and up to 63 more, so that no pattern of calls keeps step with it */
    MEASURE_QUIET = 10 * 1000000 /* nanoseconds after which the next call is measured, however few there were */
};

static inline void histogram_add(struct histogram *histogram, uint64_t nanoseconds, uint64_t weight) {
    uint32_t bits = nanoseconds ? 64 - (uint32_t)__builtin_clzll(nanoseconds) : 0;
    uint32_t bucket = bits <= HISTOGRAM_LEAST ? 0 : bits - HISTOGRAM_LEAST;
    if (bucket >= HISTOGRAM_BUCKETS)
        bucket = HISTOGRAM_BUCKETS - 1;
    uint64_t *at = &histogram->buckets[bucket];
    __atomic_store_n(at, *at + weight, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->sum, histogram->sum + nanoseconds * weight, __ATOMIC_RELAXED);
}

/* The time when the call began, or 0: this one is not measured. */
static inline int64_t measure_begin(const struct core *core) {
    if (core->counters[COUNTER_HANDLER_CALLS] < core->measure_call && core->now < core->measure_due)
        return 0;
    return core->virtual_clock ? 0 : clock_now();
}

/* After the call was counted. */
static inline void measure_end(struct core *core, int64_t began) {
    uint64_t calls = core->counters[COUNTER_HANDLER_CALLS];
    uint64_t took = (uint64_t)(clock_now() - began);
    histogram_add(&core->histograms[HISTOGRAM_HANDLER], took, calls - core->measured_calls);
    core->measured_calls = calls;
    core->measure_call = calls + MEASURE_EVERY + ((uint64_t)began & 63);
    core->measure_due = core->now + MEASURE_QUIET;
}

/* At the start of a turn: what became of the time since the one before. */
static inline void measure_turn(struct core *core, int64_t before) {
    uint64_t passed = (uint64_t)(core->now - before);
    if (core->worked) {
        count(core, COUNTER_BUSY_NANOSECONDS, passed);
        histogram_add(&core->histograms[HISTOGRAM_TURN], passed, 1);
    } else if (core->slept) {
        count(core, COUNTER_SLEPT_NANOSECONDS, passed);
    }
    core->worked = 0;
    core->slept = 0;
}
