/* Memory of busy connections: 128 B busy blocks, and buffers of 2^6 .. 2^20 bytes from log2 free lists over one
 * section. Offsets in 64 B units, 0 = none. Owned by the core; bounded by the section. */
#pragma once

#include <stdint.h>

enum { BUFFER_CLASS_MIN = 6, BUFFER_CLASS_MAX = 20 };

struct core;
uint64_t buffer_section_bytes(uint64_t buffer_bytes);    /* what the arena sets aside for so many bytes of buffers */
struct busy *busy_of(struct core *core, uint32_t index); /* record index -> its block, or NULL */
struct busy *busy_take(struct core *core,
                       uint32_t index); /* the record's block, taking one if it has none; NULL: none left */
void busy_release(struct core *core, uint32_t index);         /* gives the block back if it holds nothing */
void busy_discard(struct core *core, uint32_t index);         /* gives block and buffers back, whatever they hold */
void busy_give(struct core *core, uint32_t block);            /* the same, for a block that no record names any more */
uint32_t buffer_take(struct core *core, uint32_t size_class); /* splits a larger one if it must; 0: none left */
/* The largest class up to `most` that buffer_take would give, or 0. */
uint32_t buffer_largest(struct core *core, uint32_t most);
int buffer_ready(const struct core *core, uint32_t size_class); /* 1: one is free, of this class or a larger one */
int busy_left(const struct core *core);                         /* 1: busy_take would find a block */
void buffer_give(struct core *core, uint32_t buffer, uint32_t size_class);
uint8_t *buffer_bytes_at(struct core *core, uint32_t buffer);
/* Adoption: marks a buffer as somebody's in the map; -1 if it can't be one: out of bounds, or somebody else's. */
int buffer_mark(struct core *core, uint32_t buffer, uint32_t size_class);
void buffer_recover(struct core *core); /* adoption: rebuild the free lists from the blocks that own buffers */
void busy_give_islands(struct core *core, uint32_t islands); /* a list that no block names any more, and its ring */
uint64_t buffer_free_bytes(const struct core *core);
