/* Connections in TIME-WAIT: 32 B each in a FIFO of their own (they all wait equally long, so no timers) with a hashed
 * index. In the arena, written by the owning core; bounded: full recycles the oldest. */
#pragma once

#include <stdint.h>
#include "record.h"

enum { TIME_WAIT_MILLISECONDS = 60000, TIME_WAIT_TIMESTAMPS = 1 };

struct time_wait {
    struct flow flow;    /* remote_port 0 = already reused or recycled */
    uint32_t snd_nxt;    /* what the last ACK said */
    uint32_t rcv_nxt;    /* likewise */
    uint32_t ts_recent;  /* for PAWS and RFC 6191 */
    uint32_t expires;    /* tick */
    uint32_t next_flags; /* 24 bits: next of its hash chain; 8 bits: TIME_WAIT_TIMESTAMPS */
};

struct core;
/* Section size for so many entries, their index included. */
uint64_t time_wait_bytes(uint64_t entries);
void time_wait_insert(struct core *core, const struct time_wait *entry, uint32_t hash);
struct time_wait *time_wait_find(struct core *core, const struct flow *flow, uint32_t hash);
void time_wait_remove(struct core *core, struct time_wait *entry, uint32_t hash);
/* Drops what has waited long enough, at most `budget`; returns how many. */
uint32_t time_wait_expire(struct core *core, uint32_t budget);
void time_wait_recover(struct core *core); /* adoption: rebuild the index */
uint32_t time_wait_count(const struct core *core);
