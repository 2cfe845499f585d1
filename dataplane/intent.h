/* The one intent of a core: an operation of several stores first writes down everything it will store, as values and
 * not as changes, then stores, then clears it. Adoption stores again whatever is written down, so each operation has
 * happened or not. Lives in core_state; one at a time, never nested. */
#pragma once

#include <stdint.h>
#include "core.h"
#include "crash.h"
#include "record.h"

enum intent_kind {
    INTENT_NONE,
    INTENT_TAKE,    /* record: off the free list, cleared */
    INTENT_INSERT,  /* the same, and into the index */
    INTENT_FREE,    /* record: next generation, onto the free list */
    INTENT_DELETE,  /* the same, after leaving the index */
    INTENT_SEND,    /* busy block: another send buffer, holding the same bytes */
    INTENT_RECEIVE, /* busy block: another receive buffer, holding the same bytes */
    INTENT_SHARED,  /* busy block: another list of shared bytes, holding the same entries */
};

/* INTENT_TAKE to INTENT_DELETE: what will stand where. */
struct intent_record {
    uint32_t kind, index;
    uint32_t record_free, record_fresh, live; /* of core_state */
    uint32_t next, generation, hash;          /* of the record */
    uint32_t home, bucket;                    /* place in the index; passed are the buckets home .. bucket - 1 */
    /* The passed bucket whose overflow count is being moved (distance from home), and the count it had: stored at once,
     * before the count moves. Buckets nearer home are done. */
    uint32_t passed, overflow;
    struct flow flow;
    uint16_t slot, tag;
};

/* INTENT_SEND to INTENT_SHARED. */
struct intent_stream {
    uint32_t kind, block;
    uint32_t buffer, size_class, start, length;
    uint32_t spare[10];
};

static inline void intent_write(struct core *core, uint32_t kind) {
    STORES_STAY();
    /* Read by an adopting process once this one is dead; the kernel orders the two. */
    __atomic_store_n(&core->state->intent.kind, kind, __ATOMIC_RELEASE);
    CRASH_POINT(intent_written);
}

static inline void intent_clear(struct core *core) {
    CRASH_POINT(intent_done);
    __atomic_store_n(&core->state->intent.kind, INTENT_NONE, __ATOMIC_RELEASE);
    STORES_STAY();
}

/* The stores of the intent now written; running them twice is running them once. */
void record_apply(struct core *core);
void table_apply(struct core *core);
void stream_apply(struct core *core);
void intent_recover(struct core *core);
