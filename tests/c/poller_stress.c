/* Cores, the poller and an event loop as threads: every message must arrive although the event loop sleeps whenever it
 * finds none, and a full ring must wake whoever waits for room. Run under TSan. A second without progress is a lost
 * wake-up. Usage: poller_stress MESSAGES SEED */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "../../controlplane/poller.h"
#include "../../runtime/ring_cell.h"

enum { CORES = 2, CELLS = 16, PATIENCE = 5000 /* milliseconds */ };

static struct ring *in[CORES], *out; /* from each core; to core 0 */
static uint64_t wanted, seed;

static void *core(void *argument) {
    uint64_t number = (uint64_t)(uintptr_t)argument, state = seed + number, payload;
    struct ring_message message = {.type = 1, .length = 8};
    for (uint64_t n = 0; n < wanted;) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (state >> 60 == 0) {
            struct timespec time = {0, state >> 40 & 0xffff};
            nanosleep(&time, NULL);
        }
        payload = n;
        n += ring_put(in[number], &message, &payload) == 1;
        if (number == 0 && ring_get(out, &message, (uint8_t[RING_MESSAGE_MAX]){0})) {
            ring_advance(out);
        }
    }
    return NULL;
}

/* Everything there is, from every ring; also sends to core 0 while there is room. Returns how much it did. */
static uint64_t work(uint64_t *seen, uint64_t *sent) {
    struct ring_message message;
    uint64_t done = 0, payload;
    uint8_t room[RING_MESSAGE_MAX];
    for (int i = 0; i < CORES; i++) {
        while (ring_get(in[i], &message, room)) {
            memcpy(&payload, room, 8);
            if (payload != seen[i]++) {
                fprintf(stderr, "out of order\n");
                exit(1);
            }
            ring_advance(in[i]);
            done++;
        }
    }
    message = (struct ring_message){.type = 2, .length = 8};
    while (*sent < wanted / 4 && ring_put(out, &message, sent)) {
        ++*sent;
        done++;
    }
    return done;
}

static int through(const uint64_t *seen) {
    return seen[0] == wanted && seen[1] == wanted;
}

static int event_loop(struct poller *poller, int descriptor) {
    uint64_t seen[CORES] = {0}, sent = 0, value;
    while (!through(seen)) {
        if (work(seen, &sent)) {
            continue;
        }
        poller_want(poller, 0, out, sent < wanted / 4 ? 1 : 0);
        if (!poller_park(poller, sent & 1)) {
            continue;
        }
        struct pollfd wait = {.fd = descriptor, .events = POLLIN};
        if (poll(&wait, 1, PATIENCE) != 1) {
            fprintf(stderr, "nobody woke the event loop: %llu and %llu of %llu messages\n", (unsigned long long)seen[0],
                    (unsigned long long)seen[1], (unsigned long long)wanted);
            return 1;
        }
        if (read(descriptor, &value, sizeof value) < 0) {
            return 1;
        }
        poller_unpark(poller);
    }
    return 0;
}

int main(int count, char **words) {
    if (count != 3) {
        return 2;
    }
    wanted = strtoull(words[1], NULL, 10);
    seed = strtoull(words[2], NULL, 10);
    struct ring **all[] = {&in[0], &in[1], &out};
    for (int i = 0; i < 3; i++) {
        *all[i] = aligned_alloc(64, ring_bytes(CELLS));
        ring_format(*all[i], CELLS);
    }
    int descriptor = eventfd(0, EFD_NONBLOCK);
    struct poller *poller;
    pthread_t threads[CORES];
    if (descriptor < 0 || poller_start(in, CORES, descriptor, 10000, 50000, &poller)) {
        return 2;
    }
    for (uint64_t i = 0; i < CORES; i++) {
        pthread_create(&threads[i], NULL, core, (void *)(uintptr_t)i);
    }
    int failed = event_loop(poller, descriptor);
    for (int i = 0; i < CORES && !failed; i++) {
        pthread_join(threads[i], NULL);
    }
    if (failed) {
        return 1;
    }
    poller_stop(poller);
    for (int i = 0; i < 3; i++) {
        free(*all[i]);
    }
    close(descriptor);
    return 0;
}
