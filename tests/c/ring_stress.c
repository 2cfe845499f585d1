/* Two threads over one small ring: every kind of put against every kind of get, each byte checked. Run under TSan,
 * which sees a missing release or acquire that x86 hides, and under ASan and UBSan. Usage: ring_stress MESSAGES CELLS
 * SEED */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include "../../runtime/ring_cell.h"

enum { LONGEST = 300, BATCH = 16 };

static struct ring *ring;
static uint64_t wanted, cells, seed;

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* What message number n is made of follows from n alone. */
static struct ring_message header_of(uint64_t n, uint32_t longest) {
    uint32_t length = (uint32_t)(n * 2654435761u >> 7) % (longest + 1);
    return (struct ring_message){
        .type = n % 4096, .length = (uint16_t)length, .kind = n % 4, .target = n % 256, .tag = n % (1 << 24)};
}

static void fill(uint64_t n, uint8_t *payload, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) {
        payload[i] = (uint8_t)(n * 31 + i);
    }
}

static void check(uint64_t n, const struct ring_message *message, const uint8_t *payload, uint32_t longest) {
    struct ring_message header = header_of(n, longest);
    int wrong = message->type != header.type || message->length != header.length || message->kind != header.kind ||
                message->target != header.target || message->tag != header.tag;
    for (uint32_t i = 0; !wrong && i < message->length; i++) {
        wrong = payload[i] != (uint8_t)(n * 31 + i);
    }
    if (wrong) {
        fprintf(stderr, "message %llu is not what was put\n", (unsigned long long)n);
        exit(1);
    }
}

/* Messages up to `wanted / 2` may be long, the others fit a cell: those come in batches too. */
static uint32_t longest_of(uint64_t n) {
    uint32_t most = cells * RING_PAYLOAD < LONGEST ? cells * RING_PAYLOAD : LONGEST;
    return n < wanted / 2 ? most : RING_PAYLOAD;
}

static uint64_t put_some(uint64_t n, uint64_t *state) {
    struct ring_message headers[BATCH];
    uint8_t rows[BATCH][RING_PAYLOAD], payload[LONGEST];
    uint32_t count = random_next(state) % BATCH + 1;
    if (n < wanted / 2) {
        headers[0] = header_of(n, longest_of(n));
        fill(n, payload, headers[0].length);
        return ring_put(ring, headers, payload) == 1;
    }
    for (uint32_t i = 0; i < count && n + i < wanted; i++) {
        headers[i] = header_of(n + i, RING_PAYLOAD);
        fill(n + i, rows[i], RING_PAYLOAD);
    }
    count = n + count > wanted ? wanted - n : count;
    return ring_put_batch(ring, headers, rows, RING_PAYLOAD, count);
}

static void *produce(void *unused) {
    uint64_t state = seed;
    for (uint64_t n = 0; n < wanted;) {
        uint64_t went = put_some(n, &state);
        n += went;
        if (!went) {
            sched_yield();
        }
    }
    return unused;
}

static uint64_t get_some(uint64_t n, uint64_t *state) {
    struct ring_message headers[BATCH];
    static uint8_t rows[BATCH * RING_MESSAGE_MAX];
    uint32_t count = random_next(state) % BATCH + 1, stride = RING_PAYLOAD, got;
    switch (random_next(state) % 3) {
    case 0:
        got = ring_get_cell(ring, headers, rows);
        break;
    case 1:
        got = ring_get_run(ring, headers, rows, sizeof rows, count);
        stride = headers[0].length;
        break;
    default:
        stride = random_next(state) % 2 ? RING_PAYLOAD : LONGEST;
        got = ring_get_batch(ring, headers, rows, stride, count);
    }
    for (uint32_t i = 0; i < got; i++) {
        check(n + i, headers + i, rows + (uint64_t)i * stride, longest_of(n + i));
    }
    if (got) {
        ring_advance(ring);
    }
    return got;
}

static void *consume(void *unused) {
    uint64_t state = seed * 3 + 1;
    for (uint64_t n = 0; n < wanted;) {
        uint64_t got = get_some(n, &state);
        n += got;
        if (!got) {
            sched_yield();
        }
    }
    return unused;
}

int main(int count, char **words) {
    if (count != 4) {
        return 2;
    }
    wanted = strtoull(words[1], NULL, 10);
    cells = strtoull(words[2], NULL, 10);
    seed = strtoull(words[3], NULL, 10) | 1;
    ring = aligned_alloc(64, ring_bytes(cells));
    if (!ring || ring_format(ring, cells)) {
        return 2;
    }
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, produce, NULL);
    pthread_create(&threads[1], NULL, consume, NULL);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    int left = ring_fill(ring) != 0 || ring_ready(ring);
    free(ring);
    return left;
}
