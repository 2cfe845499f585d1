/* The ring's hot path, for C callers that want it inline: one-cell put and get. Producer's functions touch the
 * producer's lines and cells, the consumer's its own; nothing here waits. Knows no message longer than a cell but how
 * to hand it to ring.c. */
#pragma once

#include <string.h>
#include "ring.h"

struct ring_cell {
    uint64_t word; /* bit 0 lap, 1 continuation, 2-3 kind, 8-15 target, 16-27 type, 28-39 length, 40-63 tag */
    uint8_t payload[RING_PAYLOAD];
};

_Static_assert(sizeof(struct ring_cell) == RING_CELL, "a cell is one cache line");
_Static_assert(sizeof(struct ring) == 256, "two lines for each side");
_Static_assert(__builtin_offsetof(struct ring, head) == 128, "the consumer's lines are its own");
_Static_assert(__builtin_offsetof(struct ring, asleep) == 192, "whether it sleeps, on a line of its own");
_Static_assert(RING_MESSAGE_MAX < 1 << 12, "the length has 12 bits");

enum { RING_LAP = 1, RING_CONTINUATION = 2 };

/* The bit a published cell at this position has: 1 in the first lap (fresh memory is 0), then 0, then 1... */
static inline uint64_t ring_lap(uint64_t position, uint64_t cells) {
    return (position & cells) == 0;
}

static inline struct ring_cell *ring_cell_at(struct ring *ring, uint64_t position, uint64_t cells) {
    return (struct ring_cell *)(ring + 1) + (position & (cells - 1));
}

static inline uint64_t ring_word(const struct ring_message *message) {
    return (uint64_t)(message->kind & 3) << 2 | (uint64_t)message->target << 8 |
           (uint64_t)(message->type & 0xfff) << 16 | (uint64_t)(message->length & 0xfff) << 28 |
           (uint64_t)message->tag << 40;
}

static inline uint32_t ring_word_length(uint64_t word) {
    return word >> 28 & 0xfff;
}

static inline void ring_unpack(uint64_t word, struct ring_message *message) {
    message->type = word >> 16 & 0xfff;
    message->length = ring_word_length(word);
    message->kind = word >> 2 & 3;
    message->target = word >> 8 & 0xff;
    message->tag = word >> 40;
}

static inline uint64_t ring_cells_of(uint32_t length) {
    return length <= RING_PAYLOAD ? 1 : (length + RING_PAYLOAD - 1) / RING_PAYLOAD;
}

/* Cells the producer may write, looking at the consumer only when it seems to have too few. */
static inline uint64_t ring_free(struct ring *ring, uint64_t wanted) {
    uint64_t room = ring->cells - (ring->tail - ring->head_seen);
    if (__builtin_expect(room < wanted, 0)) {
        /* Pairs with the release in ring_advance: what the consumer copied out, we may overwrite. */
        ring->head_seen = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
        room = ring->cells - (ring->tail - ring->head_seen);
    }
    return room;
}

/* Only the producer and ring_fill read the tail: the lap bits, not the tail, publish. */
static inline void ring_produced(struct ring *ring, uint64_t cells) {
    __atomic_store_n(&ring->tail, ring->tail + cells, __ATOMIC_RELAXED);
}

/* memcpy of at most RING_PAYLOAD bytes by two to four overlapping moves: a call would cost as much as the message. */
static inline void ring_copy(uint8_t *to, const uint8_t *from, uint32_t length) {
    if (__builtin_constant_p(length)) {
        memcpy(to, from, length);
    } else if (length >= 16) {
        memcpy(to, from, 16);
        if (length > 32) {
            memcpy(to + 16, from + 16, 16);
        }
        if (length > 48) {
            memcpy(to + 32, from + 32, 16);
        }
        memcpy(to + length - 16, from + length - 16, 16);
    } else if (length >= 8) {
        memcpy(to, from, 8);
        memcpy(to + length - 8, from + length - 8, 8);
    } else {
        for (uint32_t i = 0; i < length; i++) {
            to[i] = from[i];
        }
    }
}

/* A message of at most RING_PAYLOAD bytes. 1, or 0 when the ring is full. */
static inline int ring_put_cell(struct ring *ring, const struct ring_message *message, const void *payload) {
    if (!ring_free(ring, 1)) {
        ring->refused++;
        return 0;
    }
    uint64_t at = ring->tail;
    struct ring_cell *cell = ring_cell_at(ring, at, ring->cells);
    ring_copy(cell->payload, payload, message->length);
    /* Pairs with the acquire in ring_peek: whoever sees the lap bit sees the payload. */
    __atomic_store_n(&cell->word, ring_word(message) | ring_lap(at, ring->cells), __ATOMIC_RELEASE);
    ring_produced(ring, 1);
    return 1;
}

/* Only the consumer stores next; a thread that watches on its behalf may read it (controlplane/poller.c). */
static inline void ring_consumed(struct ring *ring, uint64_t cells) {
    __atomic_store_n(&ring->next, ring->next + cells, __ATOMIC_RELAXED);
}

/* The cell at the consumer's place and its word, or NULL while no message is there. */
static inline const struct ring_cell *ring_peek(struct ring *ring, uint64_t *word) {
    uint64_t at = __atomic_load_n(&ring->next, __ATOMIC_RELAXED);
    const struct ring_cell *cell = ring_cell_at(ring, at, ring->size);
    /* Pairs with the release that published this cell, or the first cell of the batch it came with. */
    *word = __atomic_load_n(&cell->word, __ATOMIC_ACQUIRE);
    return (*word & RING_LAP) == ring_lap(at, ring->size) ? cell : 0;
}

int ring_get_long(struct ring *ring, uint64_t word, struct ring_message *message, void *payload);

/* ring_get, inline: always copies a whole cell's payload, so `payload` has room for RING_MESSAGE_MAX bytes. */
static inline int ring_get_cell(struct ring *ring, struct ring_message *message, void *payload) {
    uint64_t word;
    const struct ring_cell *cell = ring_peek(ring, &word);
    if (!cell) {
        return 0;
    }
    if (__builtin_expect(ring_word_length(word) > RING_PAYLOAD, 0)) {
        return ring_get_long(ring, word, message, payload);
    }
    ring_unpack(word, message);
    memcpy(payload, cell->payload, RING_PAYLOAD);
    ring_consumed(ring, 1);
    return 1;
}

static inline void ring_advance_cell(struct ring *ring) {
    /* Pairs with the acquire in ring_free: our copies are done before the producer sees the cells free. */
    __atomic_store_n(&ring->head, ring->next, __ATOMIC_RELEASE);
}
