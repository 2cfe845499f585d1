/* A producer and a consumer process over one ring; again and again one of them is killed with SIGKILL at a random
 * moment and a new one adopts its end. Each producer is an epoch and numbers its messages. Nothing put may be lost,
 * nothing half-written seen, and only what was in hand may come twice. Usage: ring_crash KILLS CELLS SEED */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../runtime/ring_cell.h"

enum { BATCH = 32, LONGEST = 1000, KILLS_MAX = 1 << 16 };

static const uint64_t NUMBER = (1ull << 40) - 1;

struct shared {
    uint64_t put[KILLS_MAX]; /* by epoch: messages whose put had returned */
    uint64_t epoch;          /* of the producer, from 1 */
    uint64_t seen;           /* the consumer's last message: epoch << 40 | number */
    uint64_t messages, repeated, epochs;
    char wrong[160];
};

static struct shared *shared;
static struct ring *ring;

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static uint32_t compose(uint64_t epoch, uint64_t n, int one_cell, uint8_t *payload) {
    uint32_t most = one_cell ? RING_PAYLOAD : LONGEST, length = 16 + (epoch * 131 + n * 2654435761u) % (most - 15);
    memcpy(payload, &epoch, 8);
    memcpy(payload + 8, &n, 8);
    memset(payload + 16, (int)(epoch + n * 7), length - 16);
    return length;
}

static uint32_t put_some(uint64_t epoch, uint64_t n, uint64_t *state) {
    struct ring_message headers[BATCH];
    uint8_t rows[BATCH][RING_PAYLOAD], payload[LONGEST];
    uint32_t count = n < BATCH ? 1 : random_next(state) % BATCH + 1;
    if (count > 1 && random_next(state) % 2) {
        headers[0] = (struct ring_message){.type = 1, .kind = 1};
        headers[0].length = (uint16_t)compose(epoch, n, 0, payload);
        return ring_put(ring, headers, payload) == 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        headers[i] = (struct ring_message){.type = 1};
        headers[i].length = (uint16_t)compose(epoch, n + i, 1, rows[i]);
    }
    return ring_put_batch(ring, headers, rows, RING_PAYLOAD, count);
}

static void produce(uint64_t seed) {
    ring_adopt_producer(ring);
    uint64_t epoch = ++shared->epoch, state = seed;
    for (uint64_t n = 0;;) {
        n += put_some(epoch, n, &state);
        __atomic_store_n(&shared->put[epoch], n, __ATOMIC_RELEASE);
        /* At first, and then often, into an empty ring: there a ghost of the last epoch is met, not overwritten. */
        while (ring_fill(ring) > (n > BATCH && random_next(&state) % 2 ? ring->cells - BATCH : 0)) {
        }
    }
}

static void fail(const char *what, uint64_t epoch, uint64_t n) {
    snprintf(shared->wrong, sizeof shared->wrong, "%s: epoch %llu message %llu after epoch %llu message %llu", what,
             (unsigned long long)epoch, (unsigned long long)n, (unsigned long long)shared->seen >> 40,
             (unsigned long long)shared->seen & NUMBER);
    _exit(1);
}

/* What the consumer knows of an epoch's end, once a later one begins: all that was put has come. */
static void check_epoch_ends(uint64_t epoch) {
    uint64_t last = shared->seen >> 40;
    for (uint64_t past = last; past < epoch; past++) {
        uint64_t come = past == last && last ? (shared->seen & NUMBER) + 1 : 0;
        if (come < __atomic_load_n(&shared->put[past], __ATOMIC_ACQUIRE)) {
            fail("lost the end of an epoch", past, come);
        }
    }
}

/* 1 if it is the message that was in hand when the last consumer died. */
static int check(const struct ring_message *message, const uint8_t *payload, int first) {
    uint8_t whole[LONGEST];
    uint64_t epoch, n;
    memcpy(&epoch, payload, 8);
    memcpy(&n, payload + 8, 8);
    if (compose(epoch, n, message->kind == 0, whole) != message->length || memcmp(whole, payload, message->length)) {
        fail("torn", epoch, n);
    }
    uint64_t now = epoch << 40 | n;
    if (first && now == shared->seen) {
        return 1;
    }
    if (epoch == shared->seen >> 40 ? now != shared->seen + 1 : n != 0 || now < shared->seen) {
        fail("lost, repeated or out of order", epoch, n);
    }
    if (n == 0) {
        check_epoch_ends(epoch);
        shared->epochs++;
    }
    return 0;
}

static void consume(void) {
    struct ring_message message;
    uint8_t payload[RING_MESSAGE_MAX];
    ring_adopt_consumer(ring);
    for (int first = 1;; first = 0) {
        while (!ring_get(ring, &message, payload)) {
            sched_yield();
        }
        uint64_t epoch, n;
        memcpy(&epoch, payload, 8);
        memcpy(&n, payload + 8, 8);
        uint64_t repeated = check(&message, payload, first);
        shared->repeated += repeated;
        shared->messages += !repeated;
        __atomic_store_n(&shared->seen, epoch << 40 | n, __ATOMIC_RELEASE);
        ring_advance(ring);
    }
}

static pid_t start(int consumer, uint64_t seed) {
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            consumer ? consume() : produce(seed);
        }
        _exit(0);
    }
    return child;
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void wait_a_while(uint64_t nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

static void drain(void) {
    ring_adopt_producer(ring);
    for (int i = 0; i < 5000 && ring_fill(ring) && !shared->wrong[0]; i++) {
        wait_a_while(1000000);
    }
    if (ring_fill(ring) && !shared->wrong[0]) {
        fail("the consumer stands still", 0, 0);
    }
}

int main(int count, char **words) {
    if (count != 4) {
        return 2;
    }
    uint64_t kills = strtoull(words[1], NULL, 10), cells = strtoull(words[2], NULL, 10);
    uint64_t state = strtoull(words[3], NULL, 10) * 2 + 1;
    size_t bytes = sizeof *shared + ring_bytes(cells);
    ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared = (struct shared *)((uint8_t *)ring + ring_bytes(cells));
    if (kills >= KILLS_MAX || ring == MAP_FAILED || ring_format(ring, cells)) {
        return 2;
    }
    pid_t children[2] = {start(0, random_next(&state)), start(1, 0)};
    for (uint64_t i = 0; i < kills && !shared->wrong[0]; i++) {
        wait_a_while(random_next(&state) % 300000);
        int victim = random_next(&state) % 2;
        end(children[victim]);
        children[victim] = start(victim, random_next(&state));
    }
    end(children[0]);
    drain();
    end(children[1]);
    if (!shared->wrong[0]) {
        check_epoch_ends(shared->epoch + 1);
    }
    printf("%llu messages of %llu epochs, %llu repeated\n", (unsigned long long)shared->messages,
           (unsigned long long)shared->epochs, (unsigned long long)shared->repeated);
    if (shared->wrong[0]) {
        fprintf(stderr, "%s\n", shared->wrong);
    }
    return shared->wrong[0] != 0 || shared->messages == 0;
}
