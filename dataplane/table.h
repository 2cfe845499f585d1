/* Connections by 4-tuple: 64 B buckets of 15 tags, an overflow count and 15 record indexes of 24 bits ("B15"), keyed
 * hash. In the arena's index section, written by the owning core. Knows struct record's flow and hash, nothing else of
 * it. An insert or a delete moves state->epoch: whoever holds results of an earlier find verifies again. */
#pragma once

#include <stdint.h>

enum { BUCKET_SLOTS = 15, TABLE_BURST = 32 };

struct bucket {
    uint8_t tag[15];   /* 0 = empty */
    uint8_t overflow;  /* how many keys of this bucket sit in later ones, 255 = stuck */
    uint8_t index[45]; /* 24-bit record indexes */
    uint8_t spare[3];
};

struct core;
struct flow;
uint64_t table_buckets(uint64_t connections); /* for a load of at most 0.8 */
uint32_t table_hash(const struct core *core, const struct flow *flow);
/* index[i] = record of flows[i], or RECORD_NONE; hashes[i] is filled for a later insert. count <= TABLE_BURST. */
void table_find(struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t *index, uint32_t count);
/* The same in its three steps, for a burst that is read piece by piece: what a step asks for is on its way until the
 * next. Hashes the flows and asks for their buckets; reads these and asks for the records, a bit set for each flow that
 * is absent for certain; reads these. */
void table_ask(const struct core *core, const struct flow *flows, uint32_t *hashes, uint32_t count);
uint32_t table_match(const struct core *core, const uint32_t *hashes, uint32_t *index, uint32_t count);
void table_verify(struct core *core, const struct flow *flows, const uint32_t *hashes, uint32_t *index, uint32_t absent,
                  uint32_t count);
uint32_t table_find_one(struct core *core, const struct flow *flow, uint32_t hash);
/* Takes a free record, keys it and puts it into the index as one crash-safe step. The index, or 0: full. */
uint32_t table_insert(struct core *core, const struct flow *flow, uint32_t hash);
/* Removes it from the index and frees the record (generation moves on), crash-safe. */
void table_delete(struct core *core, uint32_t index);
/* Records without a flow (kernel transport): taken and freed with the same care, not in the index. */
uint32_t record_take(struct core *core);
void record_free(struct core *core, uint32_t index);
/* Adoption: finish or undo the intent. */
void table_recover(struct core *core);
int64_t record_handle(const struct core *core, uint32_t index);
uint32_t record_of_handle(const struct core *core, int64_t handle); /* RECORD_NONE: gone, or another core's */
