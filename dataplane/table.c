/* Finding, inserting and deleting connections in the index. A burst is looked up in three stages, so that the cache
 * misses of all its buckets, then of all its records, overlap. Owned by the core. */
#include "table.h"

#include <string.h>
#include "bucket.h"
#include "buffer.h"
#include "core.h"
#include "hash.h"
#include "intent.h"
#include "record.h"
#include "record_pool.h"

_Static_assert(sizeof(struct bucket) == 64, "one cache line");

enum { LOAD_SLOTS = 12 }; /* of 15: at a load of 0.8 two keys in a hundred are displaced, at 0.9 two in ten */

uint64_t table_buckets(uint64_t connections) {
    return (connections + LOAD_SLOTS - 1) / LOAD_SLOTS;
}

static struct bucket *bucket_at(const struct core *core, uint32_t number) {
    return (struct bucket *)(void *)core->index + number;
}

static uint32_t bucket_next(const struct core *core, uint32_t number) {
    return number + 1 == core->buckets ? 0 : number + 1;
}

static int same_flow(const struct record *record, const struct flow *flow) {
    uint64_t ours, theirs;
    uint32_t our_ports, their_ports;
    memcpy(&ours, &record->flow, 8);
    memcpy(&theirs, flow, 8);
    memcpy(&our_ports, &record->flow.local_port, 4);
    memcpy(&their_ports, &flow->local_port, 4);
    return ((ours ^ theirs) | (our_ports ^ their_ports)) == 0;
}

uint32_t table_find_one(struct core *core, const struct flow *flow, uint32_t hash) {
    uint32_t number = bucket_home(hash, core->buckets);
    uint32_t tag = bucket_tag(hash);
    for (uint32_t tried = 0; tried < core->buckets; tried++) {
        const struct bucket *bucket = bucket_at(core, number);
        for (uint32_t match = bucket_match(bucket, tag); match; match &= match - 1) {
            uint32_t index = bucket_index(bucket, (uint32_t)__builtin_ctz(match));
            if (same_flow(&core->records[index], flow))
                return index;
        }
        if (!bucket->overflow)
            break;
        number = bucket_next(core, number);
    }
    return RECORD_NONE;
}

void table_ask(const struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t count) {
    hash_flows(core, flows, hashes, count);
    for (uint32_t i = 0; i < count; i++)
        __builtin_prefetch(bucket_at(core, bucket_home(hashes[i], core->buckets)));
}

uint32_t table_match(const struct core *core, const uint32_t *hashes, uint32_t *index, uint32_t count) {
    uint32_t absent = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct bucket *bucket = bucket_at(core, bucket_home(hashes[i], core->buckets));
        uint32_t match = bucket_match(bucket, bucket_tag(hashes[i]));
        absent |= (uint32_t) !(match | bucket->overflow) << i;
        index[i] = match ? bucket_index(bucket, (uint32_t)__builtin_ctz(match)) : RECORD_NONE;
        __builtin_prefetch(&core->records[index[i]], 1);
        if (match & (match - 1)) /* one in twenty: another key with this tag */
            __builtin_prefetch(&core->records[bucket_index(bucket, (uint32_t)__builtin_ctz(match & (match - 1)))], 1);
    }
    return absent;
}

void table_verify(struct core *core, const struct flow *flows, const uint32_t *hashes, uint32_t *index, uint32_t absent,
                  uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (__builtin_expect(index[i] != RECORD_NONE && same_flow(&core->records[index[i]], &flows[i]), 1))
            continue;
        index[i] = absent >> i & 1 ? RECORD_NONE : table_find_one(core, &flows[i], hashes[i]);
    }
}

void table_find(struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t *index, uint32_t count) {
    table_ask(core, flows, hashes, count);
    uint32_t absent = table_match(core, hashes, index, count);
    table_verify(core, flows, hashes, index, absent, count);
}

/* Moves the overflow counts of the buckets a displaced key passed, each step written down before it is made. */
static void move_overflow(struct core *core, struct intent_record *intent, int step) {
    uint32_t distance = (intent->bucket + core->buckets - intent->home) % core->buckets;
    uint32_t number = (uint32_t)(((uint64_t)intent->home + intent->passed) % core->buckets);
    uint64_t *progress = (uint64_t *)(void *)&intent->passed;
    uint32_t passed = intent->passed;
    uint32_t overflow = intent->overflow;
    while (passed < distance) {
        struct bucket *bucket = bucket_at(core, number);
        if (overflow != BUCKET_STUCK)
            bucket->overflow = (uint8_t)(overflow + (uint32_t)step);
        CRASH_POINT(overflow_moved);
        number = bucket_next(core, number);
        overflow = bucket_at(core, number)->overflow;
        passed++;
        __atomic_store_n(progress, (uint64_t)overflow << 32 | passed, __ATOMIC_RELEASE);
        CRASH_POINT(overflow_noted);
    }
}

void table_apply(struct core *core) {
    struct intent_record *intent = (void *)&core->state->intent;
    struct bucket *bucket = bucket_at(core, intent->bucket);
    if (intent->kind == INTENT_INSERT) {
        move_overflow(core, intent, 1);
        bucket_store(bucket, intent->slot, intent->index);
        CRASH_POINT(bucket_stored);
        bucket->tag[intent->slot] = (uint8_t)intent->tag;
    } else {
        bucket->tag[intent->slot] = 0;
        CRASH_POINT(bucket_emptied);
        move_overflow(core, intent, -1);
    }
    core->state->epoch++;
}

static void plan_place(struct core *core, uint32_t home, uint32_t bucket, uint32_t slot) {
    struct intent_record *intent = (void *)&core->state->intent;
    intent->home = home;
    intent->bucket = bucket;
    intent->slot = (uint16_t)slot;
    intent->passed = 0;
    intent->overflow = bucket_at(core, home)->overflow;
}

uint32_t table_insert(struct core *core, const struct flow *flow, uint32_t hash) {
    struct intent_record *intent = (void *)&core->state->intent;
    uint32_t index = record_plan_take(core);
    if (index == RECORD_NONE)
        return RECORD_NONE;
    uint32_t home = bucket_home(hash, core->buckets);
    uint32_t number = home;
    uint32_t empty;
    /* Ends: there are fewer records than slots. */
    while (!(empty = bucket_match(bucket_at(core, number), 0)))
        number = bucket_next(core, number);
    plan_place(core, home, number, (uint32_t)__builtin_ctz(empty));
    intent->flow = *flow;
    intent->hash = hash;
    intent->tag = (uint16_t)bucket_tag(hash);
    intent_write(core, INTENT_INSERT);
    record_apply(core);
    table_apply(core);
    intent_clear(core);
    return index;
}

/* Where a record stands in the index: 0, or -1 if it is not there. */
static int find_place(const struct core *core, uint32_t index, uint32_t *number, uint32_t *slot) {
    uint32_t hash = core->records[index].hash;
    *number = bucket_home(hash, core->buckets);
    for (uint32_t tried = 0; tried < core->buckets; tried++) {
        const struct bucket *bucket = bucket_at(core, *number);
        for (uint32_t match = bucket_match(bucket, bucket_tag(hash)); match; match &= match - 1) {
            *slot = (uint32_t)__builtin_ctz(match);
            if (bucket_index(bucket, *slot) == index)
                return 0;
        }
        if (!bucket->overflow)
            break;
        *number = bucket_next(core, *number);
    }
    return -1;
}

void table_delete(struct core *core, uint32_t index) {
    uint32_t number, slot;
    if (!record_taken(core, index))
        return;
    if (find_place(core, index, &number, &slot)) {
        record_free(core, index);
        return;
    }
    uint32_t block = core->records[index].busy;
    record_plan_free(core, index);
    plan_place(core, bucket_home(core->records[index].hash, core->buckets), number, slot);
    intent_write(core, INTENT_DELETE);
    table_apply(core);
    record_apply(core);
    intent_clear(core);
    if (block)
        busy_give(core, block);
}

void table_recover(struct core *core) {
    intent_recover(core);
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        const struct record *record = &core->records[index];
        if (record_taken(core, index) && record->state == STATE_CLOSED && !(record->flags & FLAG_OPENED))
            table_delete(core, index);
    }
}
