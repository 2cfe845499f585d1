/* The ring's doors, multi-cell messages, batches and adoption. Producer's and consumer's functions run in different
 * processes over the same memory; each touches only its own lines, and the cells. Knows nothing of actors. */
#include <errno.h>
#include "ring_cell.h"

enum { RING_CELLS_MAX = 1 << 24 };

uint64_t ring_bytes(uint64_t cells) {
    return sizeof(struct ring) + cells * RING_CELL;
}

int ring_format(struct ring *ring, uint64_t cells) {
    if (cells == 0 || (cells & (cells - 1)) || cells > RING_CELLS_MAX) {
        return -EINVAL;
    }
    memset(ring, 0, ring_bytes(cells));
    ring->cells = cells;
    ring->size = cells;
    return 0;
}

/* Last cell first. Only the first cell's word is released: the consumer polls no other cell of the message before. */
static void put_long(struct ring *ring, const struct ring_message *message, const uint8_t *payload, uint64_t count) {
    uint64_t at = ring->tail, cells = ring->cells;
    for (uint64_t i = count - 1; i > 0; i--) {
        struct ring_cell *cell = ring_cell_at(ring, at + i, cells);
        uint64_t done = i * RING_PAYLOAD;
        uint64_t left = message->length - done;
        memcpy(cell->payload, payload + done, left < RING_PAYLOAD ? left : RING_PAYLOAD);
        __atomic_store_n(&cell->word, RING_CONTINUATION | ring_lap(at + i, cells), __ATOMIC_RELAXED);
    }
    struct ring_cell *first = ring_cell_at(ring, at, cells);
    memcpy(first->payload, payload, RING_PAYLOAD);
    /* Pairs with the acquire in ring_peek: whoever sees the first cell sees them all. */
    __atomic_store_n(&first->word, ring_word(message) | ring_lap(at, cells), __ATOMIC_RELEASE);
    ring_produced(ring, count);
}

int ring_put(struct ring *ring, const struct ring_message *message, const void *payload) {
    if (__builtin_expect(message->length <= RING_PAYLOAD, 1)) {
        return ring_put_cell(ring, message, payload);
    }
    uint64_t count = ring_cells_of(message->length);
    if (message->length > RING_MESSAGE_MAX || count > ring->cells) {
        return -EMSGSIZE;
    }
    if (ring_free(ring, count) < count) {
        ring->refused++;
        return 0;
    }
    put_long(ring, message, payload, count);
    return 1;
}

/* Inlined twice, with a whole cell's payload and without: copies of constant length are a few vector moves. */
__attribute__((always_inline)) static inline void put_rows(struct ring *ring, const struct ring_message *messages,
                                                           const uint8_t *payloads, uint64_t stride, uint64_t count,
                                                           int whole) {
    uint64_t at = ring->tail, cells = ring->cells;
    for (uint64_t i = count; i-- > 0;) {
        struct ring_cell *cell = ring_cell_at(ring, at + i, cells);
        uint64_t word = ring_word(&messages[i]) | ring_lap(at + i, cells);
        ring_copy(cell->payload, payloads + i * stride, whole ? RING_PAYLOAD : messages[i].length);
        if (i > 0) {
            __atomic_store_n(&cell->word, word, __ATOMIC_RELAXED);
        } else {
            /* Pairs with the acquire in ring_peek: whoever sees the first cell sees the batch. */
            __atomic_store_n(&cell->word, word, __ATOMIC_RELEASE);
        }
    }
    ring_produced(ring, count);
}

uint32_t ring_put_batch(struct ring *ring, const struct ring_message *messages, const void *payloads, uint32_t stride,
                        uint32_t count) {
    uint64_t room = ring_free(ring, count);
    uint32_t longest = stride < RING_PAYLOAD ? stride : RING_PAYLOAD, fit = 0;
    uint32_t most = room < count ? room : count;
    while (fit < most && messages[fit].length <= longest) {
        fit++;
    }
    ring->refused += fit == room && fit < count;
    if (stride >= RING_PAYLOAD) {
        put_rows(ring, messages, payloads, stride, fit, 1);
    } else {
        put_rows(ring, messages, payloads, stride, fit, 0);
    }
    return fit;
}

int ring_get_long(struct ring *ring, uint64_t word, struct ring_message *message, void *payload) {
    uint64_t at = ring->next, cells = ring->size;
    uint64_t count = ring_cells_of(ring_word_length(word));
    ring_unpack(word, message);
    if (message->length > RING_MESSAGE_MAX || count > cells) {
        /* No producer writes this: a scribbled cell passes as a message of no type rather than overrun the payload. */
        *message = (struct ring_message){0};
        ring_consumed(ring, 1);
        return 1;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t done = i * RING_PAYLOAD, left = message->length - done;
        const struct ring_cell *cell = ring_cell_at(ring, at + i, cells);
        memcpy((uint8_t *)payload + done, cell->payload, left < RING_PAYLOAD ? left : RING_PAYLOAD);
    }
    ring_consumed(ring, count);
    return 1;
}

int ring_get(struct ring *ring, struct ring_message *message, void *payload) {
    return ring_get_cell(ring, message, payload);
}

/* Inlined twice, as put_rows. */
__attribute__((always_inline)) static inline uint32_t
get_rows(struct ring *ring, struct ring_message *messages, uint8_t *row, uint64_t stride, uint32_t count, int whole) {
    uint32_t got = 0;
    for (; got < count; got++, row += stride) {
        uint64_t word;
        const struct ring_cell *cell = ring_peek(ring, &word);
        uint32_t length = ring_word_length(word);
        if (!cell || length > stride) {
            break;
        }
        if (length > RING_PAYLOAD) {
            ring_get_long(ring, word, &messages[got], row);
            continue;
        }
        ring_unpack(word, &messages[got]);
        memcpy(row, cell->payload, whole ? RING_PAYLOAD : length);
        ring_consumed(ring, 1);
    }
    return got;
}

uint32_t ring_get_batch(struct ring *ring, struct ring_message *messages, void *payloads, uint32_t stride,
                        uint32_t count) {
    if (stride >= RING_PAYLOAD) {
        return get_rows(ring, messages, payloads, stride, count, 1);
    }
    return get_rows(ring, messages, payloads, stride, count, 0);
}

uint32_t ring_get_run(struct ring *ring, struct ring_message *message, void *payloads, uint64_t bytes, uint32_t count) {
    uint64_t first = 0, word, done = 0;
    struct ring_message next;
    uint32_t got = 0;
    /* A cell is copied whole, so the last one needs more room than its message's length. */
    while (got < count && ring_peek(ring, &word) && (!got || ((word ^ first) & ~(uint64_t)RING_LAP) == 0) &&
           done + RING_PAYLOAD * ring_cells_of(ring_word_length(word)) <= bytes) {
        ring_get_cell(ring, got ? &next : message, (uint8_t *)payloads + done);
        first = word;
        done += ring_word_length(word);
        got++;
    }
    return got;
}

void ring_advance(struct ring *ring) {
    ring_advance_cell(ring);
}

int ring_ready(const struct ring *ring) {
    uint64_t word;
    return ring_peek((struct ring *)ring, &word) != 0;
}

int ring_room(struct ring *ring, uint32_t payload_length) {
    uint64_t count = ring_cells_of(payload_length);
    return ring_free(ring, count) >= count;
}

uint64_t ring_fill(const struct ring *ring) {
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
    uint64_t fill = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED) - head;
    /* After a crash the consumer may be ahead of a tail its producer didn't live to store. */
    return (int64_t)fill < 0 ? 0 : fill;
}

void ring_adopt_producer(struct ring *ring) {
    uint64_t cells = ring->cells, at = ring->tail;
    /* Pairs with the release in ring_advance_cell: cells up to here are the producer's to clear. */
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE), end = head + cells;
    if (end - at >= 2 * cells) {
        at = head; /* no producer leaves such a tail: it was scribbled over */
    }
    while (at != end) {
        uint64_t word = __atomic_load_n(&ring_cell_at(ring, at, cells)->word, __ATOMIC_RELAXED);
        uint64_t count = ring_cells_of(ring_word_length(word));
        if ((word & RING_LAP) != ring_lap(at, cells) || count > end - at) {
            break;
        }
        at += count;
    }
    for (uint64_t i = at; i != end; i++) {
        /* The consumer polls none of them before we publish the cell at the tail, with a release. */
        __atomic_store_n(&ring_cell_at(ring, i, cells)->word, !ring_lap(i, cells), __ATOMIC_RELAXED);
    }
    ring->head_seen = head;
    __atomic_store_n(&ring->tail, at, __ATOMIC_RELAXED);
}

void ring_adopt_consumer(struct ring *ring) {
    ring->next = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->asleep, 0, __ATOMIC_RELAXED);
}
