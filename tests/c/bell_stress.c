/* The control plane and a core as threads: each message must arrive although the core sleeps, without a limit, whenever
 * it finds none. Run under TSan. Usage: bell_stress MESSAGES SEED */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "../../runtime/bell.h"

enum { CELLS = 16, PATIENCE = 5000 /* milliseconds */ };

static struct ring *ring;
static uint64_t wanted, state;
static int bell;

static void *control(void *unused) {
    struct ring_message message = {.type = 1, .length = 8};
    for (uint64_t n = 0; n < wanted;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (state >> 61 == 0) {
            struct timespec time = {0, state >> 40 & 0xffff};
            nanosleep(&time, NULL);
        }
        n += bell_put(ring, &message, &n, bell) == 1;
    }
    return unused;
}

static int take(uint64_t *seen) {
    struct ring_message message;
    uint8_t payload[RING_MESSAGE_MAX];
    if (!ring_get(ring, &message, payload)) {
        return 0;
    }
    uint64_t value;
    __builtin_memcpy(&value, payload, sizeof value);
    if (value != (*seen)++) {
        fprintf(stderr, "out of order\n");
        exit(1);
    }
    ring_advance(ring);
    return 1;
}

static int core(void) {
    for (uint64_t seen = 0; seen < wanted;) {
        if (take(&seen) || !bell_may_sleep(ring)) {
            continue;
        }
        struct pollfd rung = {.fd = bell, .events = POLLIN};
        if (poll(&rung, 1, PATIENCE) != 1) {
            fprintf(stderr, "nobody rang: %llu of %llu messages\n", (unsigned long long)seen,
                    (unsigned long long)wanted);
            return 1;
        }
        bell_awake(ring, bell);
    }
    return 0;
}

int main(int count, char **words) {
    if (count != 3) {
        return 2;
    }
    wanted = strtoull(words[1], NULL, 10);
    state = strtoull(words[2], NULL, 10);
    ring = aligned_alloc(64, ring_bytes(CELLS));
    bell = eventfd(0, EFD_NONBLOCK);
    if (!ring || bell < 0 || ring_format(ring, CELLS)) {
        return 2;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, control, NULL);
    if (core()) {
        return 1;
    }
    pthread_join(thread, NULL);
    free(ring);
    close(bell);
    return 0;
}
