/* SPSC ring of 64 B cells in shared memory: one writer, one reader, no locks, no signals.
 * The first word of a cell carries a lap bit; a batch is written last cell first, so that the cell the consumer polls
 * is published last ("SeqFlagRev"; docs/message-way.md explains the memory order). A message of up to 56 B fits one
 * cell, a longer one takes consecutive cells. Knows nothing of actors. */
#pragma once

#include <stdint.h>

enum { RING_CELL = 64, RING_PAYLOAD = 56, RING_MESSAGE_MAX = 56 * 64 };

enum message_kind { MESSAGE_TELL, MESSAGE_ASK, MESSAGE_REPLY, MESSAGE_EVENT };

/* A REPLY has its ASK's type and tag; type 0 = it failed (no such handler, or a fault).
 * What travels in front of a message; packed into the cell's first word beside the lap bit. */
struct ring_message {
    uint16_t type;   /* message type number of the layout, 12 bits */
    uint16_t length; /* payload bytes, at most RING_MESSAGE_MAX */
    uint8_t kind;    /* enum message_kind, 2 bits */
    uint8_t target;  /* listener, mailbox or actor number at the receiver, 8 bits */
    uint32_t tag;    /* of an ask and its reply; of a data actor's tell: its listener + 1; 24 bits */
};

struct ring {
    /* Lines 0 and 1: the producer's; the consumer never reads them (a pair, because CPUs prefetch lines in pairs), and
     * writes there only what seldom changes: closed and full. */
    uint64_t tail;      /* cells produced */
    uint64_t head_seen; /* the consumer's head when last looked at */
    uint64_t refused;   /* puts that found the ring full */
    uint64_t cells;     /* capacity, a power of two; constant */
    uint64_t closed;    /* 1: the consumer will never come again; set by whoever ended it */
    uint64_t full[4];   /* a bit for each target that takes no tells for now; the consumer's word to the producer */
    uint64_t producer_rest[7];
    /* Lines 2 and 3: the consumer's; the producer reads head, once it has no room left. */
    uint64_t head; /* cells consumed, published by ring_advance */
    uint64_t next; /* cells consumed, not yet published */
    uint64_t size; /* the capacity once more */
    uint64_t consumer_rest[5];
    uint64_t asleep; /* 1: the consumer sleeps and wants its bell rung (bell.h); on a line that getting leaves alone */
    uint64_t sleeper_rest[7];
    /* cells of RING_CELL bytes follow */
};

uint64_t ring_bytes(uint64_t cells); /* a multiple of 64; the ring starts on a multiple of 64 */
/* -EINVAL unless a power of two up to 2^24. Not for a ring somebody uses. */
int ring_format(struct ring *ring, uint64_t cells);
/* 1, or 0 when it does not fit now; -EMSGSIZE when it never will. */
int ring_put(struct ring *ring, const struct ring_message *message, const void *payload);
/* One-cell messages, `count` rows of `stride` bytes, one publication; returns how many went in: it stops at a full ring
 * and before a message longer than a cell or a row. */
uint32_t ring_put_batch(struct ring *ring, const struct ring_message *messages, const void *payloads, uint32_t stride,
                        uint32_t count);
/* 1 with the message copied out, or 0. `payload` has room for RING_MESSAGE_MAX bytes. The head moves with ring_advance:
 * what was got and not advanced past comes again after a crash. */
int ring_get(struct ring *ring, struct ring_message *message, void *payload);
/* Up to `count` messages into `payloads`, rows of `stride` bytes; a message longer than a row ends the batch and stays.
 */
uint32_t ring_get_batch(struct ring *ring, struct ring_message *messages, void *payloads, uint32_t stride,
                        uint32_t count);
/* Up to `count` messages that are alike in all of *message: their payloads one after the other, without
 * gaps, in `bytes` of room (at least RING_MESSAGE_MAX). */
uint32_t ring_get_run(struct ring *ring, struct ring_message *message, void *payloads, uint64_t bytes, uint32_t count);
void ring_advance(struct ring *ring);
int ring_ready(const struct ring *ring);                   /* consumer: 1 if ring_get would find a message */
int ring_room(struct ring *ring, uint32_t payload_length); /* producer: 1 if ring_put would take it now */
uint64_t ring_fill(const struct ring *ring);               /* cells in use, as anybody may estimate it */
/* The producer was killed and this process takes its place: what it published whole counts, the rest is cleared. The
 * consumer may go on meanwhile. */
void ring_adopt_producer(struct ring *ring);
/* The consumer was killed: begin after the last message it advanced past. The producer may go on meanwhile. */
void ring_adopt_consumer(struct ring *ring);
