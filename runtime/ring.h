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
    uint16_t length; /* payload bytes, 12 bits */
    uint8_t kind;    /* enum message_kind, 2 bits */
    uint8_t target;  /* listener, mailbox or actor number at the receiver, 8 bits */
    uint32_t tag;    /* of an ask and its reply, 24 bits */
};

struct ring {
    /* Line 0: written by the producer. */
    uint64_t tail;      /* cells produced */
    uint64_t head_seen; /* the consumer's head when last looked at */
    uint64_t dropped;   /* messages refused because the ring was full */
    uint64_t cells;     /* capacity, a power of two; constant */
    uint64_t line0_rest[4];
    /* Line 1: written by the consumer. */
    uint64_t head; /* cells consumed, published after each message or batch */
    uint64_t next; /* cells consumed, not yet published */
    uint64_t line1_rest[6];
    /* cells of RING_CELL bytes follow */
};

uint64_t ring_bytes(uint64_t cells);
int ring_format(struct ring *ring, uint64_t cells); /* -EINVAL unless a power of two >= 64 */
/* 1, or 0 when it does not fit now; -EMSGSIZE when it never will. */
int ring_put(struct ring *ring, const struct ring_message *message, const void *payload);
/* One-cell messages, `count` of them, one publication; returns how many went in. */
uint32_t ring_put_batch(struct ring *ring, const struct ring_message *messages, const void *payloads, uint32_t stride,
                        uint32_t count);
/* 1 with the message copied out, or 0. The head moves with ring_advance. */
int ring_get(struct ring *ring, struct ring_message *message, void *payload);
/* Up to `count` messages into `payloads` at `stride` bytes apart; each longer than stride ends the batch. */
uint32_t ring_get_batch(struct ring *ring, struct ring_message *messages, void *payloads, uint32_t stride,
                        uint32_t count);
void ring_advance(struct ring *ring);
uint64_t ring_fill(const struct ring *ring); /* cells in use, as anybody may estimate it */
/* The producer or the consumer was killed and this process takes its place. */
void ring_adopt_producer(struct ring *ring);
void ring_adopt_consumer(struct ring *ring);
