/* Measures our ring and DPDK's rte_ring in the same rounds, two threads pinned to two CPUs, and the floor beside them:
 * one cache line handed to and fro. Prints one line a measurement: name, value. A measurement during which a thread was
 * preempted is taken again. Compiled and read by ring.py. */
#define _GNU_SOURCE
#include <pthread.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "../runtime/ring_cell.h"

enum { CELLS = 4096, MESSAGES = 1 << 16, TRIPS = 4096, BATCH_MAX = 32, TRIES = 200, AREA = 1 << 20 };

struct item { /* 64 B, as rte_ring carries them: a header and 56 B */
    uint64_t word;
    uint64_t payload[7];
};

struct job {
    const char *name;
    int batch; /* messages a put, 0 = round trips, -1 = the floor */
    int ours;
    int cpu;
    int side; /* 0 produces or asks, 1 consumes or answers */
    double nanoseconds;
    long preempted;
    uint64_t wrong;
};

static uint8_t *area;
static uint64_t *line;
static int ready;

static struct ring *ours_at(int n) {
    return (struct ring *)(area + n * AREA);
}

static struct rte_ring *theirs_at(int n) {
    return (struct rte_ring *)(area + (2 + n) * AREA);
}

static void pause_cpu(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void ours_produce(int batch) {
    struct ring_message messages[BATCH_MAX];
    uint64_t rows[BATCH_MAX][7] = {0};
    struct ring *ring = ours_at(0);
    for (int i = 0; i < BATCH_MAX; i++) {
        messages[i] = (struct ring_message){.type = 1, .length = RING_PAYLOAD};
    }
    for (uint64_t sent = 0; sent < MESSAGES;) {
        for (int i = 0; i < batch; i++) {
            rows[i][0] = rows[i][6] = sent + i;
        }
        for (int done = 0; done < batch;) {
            int went = batch == 1 ? ring_put_cell(ring, messages, rows)
                                  : (int)ring_put_batch(ring, messages + done, rows + done, 56, batch - done);
            done += went;
            if (!went) {
                pause_cpu();
            }
        }
        sent += batch;
    }
}

static uint64_t ours_consume(int batch) {
    struct ring_message messages[BATCH_MAX];
    uint64_t rows[BATCH_MAX][7], wrong = 0;
    struct ring *ring = ours_at(0);
    for (uint64_t seen = 0; seen < MESSAGES;) {
        int got =
            batch == 1 ? ring_get_cell(ring, messages, rows) : (int)ring_get_batch(ring, messages, rows, 56, batch);
        if (!got) {
            pause_cpu();
            continue;
        }
        ring_advance_cell(ring);
        for (int i = 0; i < got; i++, seen++) {
            wrong += rows[i][0] != seen || rows[i][6] != seen || messages[i].type != 1;
        }
    }
    return wrong;
}

static void theirs_produce(int batch) {
    struct item items[BATCH_MAX] = {0};
    struct rte_ring *ring = theirs_at(0);
    for (uint64_t sent = 0; sent < MESSAGES;) {
        for (int i = 0; i < batch; i++) {
            items[i].word = 1;
            items[i].payload[0] = items[i].payload[6] = sent + i;
        }
        for (int done = 0; done < batch;) {
            int went = rte_ring_sp_enqueue_burst_elem(ring, items + done, sizeof(struct item), batch - done, NULL);
            done += went;
            if (!went) {
                pause_cpu();
            }
        }
        sent += batch;
    }
}

static uint64_t theirs_consume(int batch) {
    struct item items[BATCH_MAX];
    uint64_t wrong = 0;
    struct rte_ring *ring = theirs_at(0);
    for (uint64_t seen = 0; seen < MESSAGES;) {
        int got = rte_ring_sc_dequeue_burst_elem(ring, items, sizeof(struct item), batch, NULL);
        if (!got) {
            pause_cpu();
            continue;
        }
        for (int i = 0; i < got; i++, seen++) {
            wrong += items[i].payload[0] != seen || items[i].payload[6] != seen || items[i].word != 1;
        }
    }
    return wrong;
}

static uint64_t ours_trips(int side) {
    struct ring_message message = {.type = 1, .length = RING_PAYLOAD};
    uint64_t row[7] = {0}, wrong = 0;
    struct ring *out = ours_at(side), *in = ours_at(!side);
    for (uint64_t i = 0; i < TRIPS; i++) {
        row[0] = side ? row[0] : i;
        if (!side) {
            ring_put_cell(out, &message, row);
        }
        while (!ring_get_cell(in, &message, row)) {
        }
        ring_advance_cell(in);
        wrong += row[0] != i;
        if (side) {
            ring_put_cell(out, &message, row);
        }
    }
    return wrong;
}

static uint64_t theirs_trips(int side) {
    struct item item = {.word = 1};
    uint64_t wrong = 0;
    struct rte_ring *out = theirs_at(side), *in = theirs_at(!side);
    for (uint64_t i = 0; i < TRIPS; i++) {
        if (!side) {
            item.payload[0] = i;
            rte_ring_sp_enqueue_elem(out, &item, sizeof item);
        }
        while (rte_ring_sc_dequeue_elem(in, &item, sizeof item)) {
        }
        wrong += item.payload[0] != i;
        if (side) {
            rte_ring_sp_enqueue_elem(out, &item, sizeof item);
        }
    }
    return wrong;
}

static void floor_trips(int side) {
    for (uint64_t i = 0; i < TRIPS; i++) {
        while (__atomic_load_n(line, __ATOMIC_ACQUIRE) != 2 * i + side) {
        }
        __atomic_store_n(line, 2 * i + side + 1, __ATOMIC_RELEASE);
    }
}

static uint64_t work(const struct job *job) {
    if (job->batch < 0) {
        floor_trips(job->side);
    } else if (job->batch == 0) {
        return job->ours ? ours_trips(job->side) : theirs_trips(job->side);
    } else if (job->side) {
        return job->ours ? ours_consume(job->batch) : theirs_consume(job->batch);
    } else if (job->ours) {
        ours_produce(job->batch);
    } else {
        theirs_produce(job->batch);
    }
    return 0;
}

static void *run(void *argument) {
    struct job *job = argument;
    struct rusage before, after;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(job->cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus)) {
        perror("sched_setaffinity");
        exit(1);
    }
    getrusage(RUSAGE_THREAD, &before);
    /* Both are awake before either begins: a futex would let one run for 50 µs alone. */
    __atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2) {
        pause_cpu();
    }
    int64_t begin = now();
    job->wrong = work(job);
    job->nanoseconds = now() - begin;
    getrusage(RUSAGE_THREAD, &after);
    job->preempted = after.ru_nivcsw - before.ru_nivcsw;
    return NULL;
}

/* Prints millions of messages a second, or nanoseconds a round trip. */
static void measure(const char *name, int batch, int ours, const int *cpus) {
    struct job jobs[2];
    int tries = 0;
    do {
        pthread_t threads[2];
        *line = 0;
        ready = 0;
        for (int i = 0; i < 2; i++) {
            ring_format(ours_at(i), CELLS);
            rte_ring_init(theirs_at(i), "peer", CELLS, RING_F_SP_ENQ | RING_F_SC_DEQ);
        }
        for (int i = 0; i < 2; i++) {
            jobs[i] = (struct job){.name = name, .batch = batch, .ours = ours, .cpu = cpus[i], .side = i};
            pthread_create(&threads[i], NULL, run, &jobs[i]);
        }
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
        }
    } while (jobs[0].preempted + jobs[1].preempted && ++tries < TRIES);
    if (jobs[0].wrong + jobs[1].wrong) {
        fprintf(stderr, "%s: messages lost or changed\n", name);
        exit(1);
    }
    double each = batch > 0 ? MESSAGES * 1000.0 / jobs[1].nanoseconds : jobs[0].nanoseconds / TRIPS;
    printf("%s %.3f %d\n", name, each, tries);
    fflush(stdout);
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: ring ROUNDS CPU CPU\n");
        return 2;
    }
    const int cpus[2] = {atoi(words[2]), atoi(words[3])};
    size_t bytes = 4 * AREA + 4096;
    area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (area == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    line = (uint64_t *)(area + 4 * AREA);
    for (int round = 0; round < atoi(words[1]); round++) {
        int first = round % 2; /* each goes first in every other round */
        measure("floor", -1, 0, cpus);
        for (int i = 0; i < 2; i++) {
            int ours = i ^ first;
            measure(ours ? "batch1" : "rte_batch1", 1, ours, cpus);
        }
        for (int i = 0; i < 2; i++) {
            int ours = i ^ first;
            measure(ours ? "batch8" : "rte_batch8", 8, ours, cpus);
        }
        for (int i = 0; i < 2; i++) {
            int ours = i ^ first;
            measure(ours ? "batch32" : "rte_batch32", 32, ours, cpus);
        }
        for (int i = 0; i < 2; i++) {
            int ours = i ^ first;
            measure(ours ? "round_trip" : "rte_round_trip", 0, ours, cpus);
        }
    }
    return 0;
}
