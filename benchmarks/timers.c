/* Measures our timer wheel beside its peers (timers_peers.c) and the floor: records read and written at random. All of
 * them armed, some re-armed and cancelled, then a clock runs tick by tick until all have run out. Prints one line a
 * measurement: name, timers, nanoseconds an operation or a poll. Compiled and read by timers.py. */
#include "timers.h"

#include <stdio.h>

#include "../dataplane/core.h"
#include "../dataplane/record.h"
#include "../dataplane/table.h"
#include "../dataplane/timer.h"
#include "../dataplane/transport.h"
#include "../runtime/arena.h"
#include "places.h"

enum { LAST = 10000 /* ticks within which all are due */, SAMPLE = 1000000 /* re-armed, cancelled */, SLOW = 20 };

_Static_assert((int)POLL_BUDGET == (int)TIMER_FIRES + 7, "our most: fewer than TIMER_FIRES, and a piece of 8");

uint32_t timers_now = 1000;
uint64_t timers_fired, timers_wrong;

static struct core *core;
static uint32_t all, *order;
static uint32_t touched; /* the floor's polls */
static int64_t *polls;
static uint32_t poll_count;

static void fired(struct core *ours, uint32_t index) {
    struct record *record = &ours->records[index];
    record->rcv_nxt++;
    timers_fired++;
    timers_wrong += record->ts_recent != ours->tick;
}

static const struct transport stub = {.name = "stub", .timer = fired};

static void set_clock(uint32_t tick) {
    core_clock(core, (int64_t)tick * 1000000);
    if (core->tick != tick) {
        exit(3);
    }
}

static void ours_open(uint32_t count) {
    if (core) {
        return;
    }
    struct arena_config config = {
        .connections = count, .busy_blocks = 64, .buffer_bytes = 1 << 20, .page_size = HUGE_PAGE};
    struct core_config core_config = {0};
    struct arena_header plan;
    if (arena_plan(&config, &plan)) {
        exit(3);
    }
    void *base = memory(plan.bytes);
    if (arena_format(base, &plan) || core_open(base, &core_config, 0, &core)) {
        exit(3);
    }
    core->transport = &stub;
    set_clock(timers_now);
    for (uint32_t i = 0; i < count; i++) {
        core->records[record_take(core)].state = STATE_ESTABLISHED;
    }
}

static void ours_fetch(uint32_t index) {
    __builtin_prefetch(&core->records[index], 1);
    __builtin_prefetch(&core->records[index].application, 1);
}

static void ours_arm(uint32_t index, uint32_t deadline) {
    core->records[index].ts_recent = deadline;
    timer_set(core, index, TIMER_TRANSPORT, deadline);
}

static void ours_cancel(uint32_t index) {
    timer_clear(core, index, TIMER_TRANSPORT);
}

/* As a turn of the loop; again as long as something is due. */
static uint32_t ours_poll(uint32_t tick) {
    set_clock(tick);
    return timer_poll(core, TIMER_BUDGET);
}

static void floor_open(uint32_t count) {
    ours_open(count);
    touched = 0;
}

static void floor_fetch(uint32_t index) {
    __builtin_prefetch(&core->records[index], 1);
}

static void floor_arm(uint32_t index, uint32_t deadline) {
    core->records[index].rcv_nxt += deadline;
}

static void floor_cancel(uint32_t index) {
    core->records[index].rcv_nxt++;
}

/* So many records in random order a tick, a budget of them at once. */
static uint32_t floor_poll(uint32_t tick) {
    uint32_t due = (uint32_t)((uint64_t)(tick - timers_now) * all / LAST), looked = 0;
    while (looked < POLL_BUDGET && touched + looked < due) {
        __builtin_prefetch(&core->records[order[touched + looked++]], 1);
    }
    for (uint32_t end = touched + looked; touched < end; touched++) {
        core->records[order[touched]].rcv_nxt++;
        timers_fired++;
    }
    return looked;
}

static const struct candidate ours = {"ours", ours_open, ours_fetch, ours_arm, ours_cancel, ours_poll, 0};
static const struct candidate bare = {"floor", floor_open, floor_fetch, floor_arm, floor_cancel, floor_poll, 0};

/* How an operation's deadlines lie: from `from` on, `width` ticks wide; width 0: it cancels. */
struct operation {
    const char *name;
    uint32_t count, from, width;
};

/* A burst's records are asked for before the first is used, as a burst's look-up does. */
static void operate(const struct candidate *candidate, struct operation operation) {
    uint32_t deadlines[BURST];
    int64_t began = clock_now();
    for (uint32_t done = 0; done < operation.count; done += BURST) {
        uint32_t count = operation.count - done < BURST ? operation.count - done : BURST;
        for (uint32_t i = 0; i < count; i++) {
            candidate->fetch(order[done + i]);
            deadlines[i] = timers_now + operation.from + random_below(operation.width);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (operation.width) {
                candidate->arm(order[done + i], deadlines[i]);
            } else {
                candidate->cancel(order[done + i]);
            }
        }
    }
    double each = (double)(clock_now() - began) / operation.count;
    if (operation.name) {
        printf("%s_%s %u %.3f\n", operation.name, candidate->name, all, each);
    }
}

static int shorter(const void *left, const void *right) {
    int64_t one = *(const int64_t *)left, other = *(const int64_t *)right;
    return (one > other) - (one < other);
}

/* Only polls that found something are counted. */
static void expire(const struct candidate *candidate) {
    int64_t sum = 0;
    poll_count = 0;
    timers_fired = 0;
    for (uint32_t tick = timers_now + 1; tick <= timers_now + LAST; tick++) {
        uint32_t looked;
        do {
            int64_t began = clock_now();
            looked = candidate->poll(tick);
            int64_t took = clock_now() - began;
            sum += took;
            polls[poll_count] = took;
            poll_count += looked > 0;
        } while (looked);
    }
    timers_wrong += timers_fired != all;
    qsort(polls, poll_count, sizeof *polls, shorter);
    printf("expire_%s %u %.3f\n", candidate->name, all, (double)sum / all);
    printf("poll_p50_%s %u %.0f\n", candidate->name, all, (double)polls[poll_count / 2]);
    printf("poll_p99_%s %u %.0f\n", candidate->name, all, (double)polls[poll_count - 1 - poll_count / 100]);
    printf("poll_most_%s %u %.0f\n", candidate->name, all, (double)polls[poll_count - 1]);
}

static void round_of(const struct candidate *candidate) {
    uint32_t sample = (all < SAMPLE ? all : SAMPLE) / (candidate->slow ? SLOW : 1);
    candidate->open(all);
    operate(candidate, (struct operation){"arm", all, 1, LAST});
    operate(candidate, (struct operation){"later", sample, LAST + 1, LAST});
    operate(candidate, (struct operation){"either", sample, 1, 2 * LAST});
    operate(candidate, (struct operation){"cancel", sample, 0, 0});
    operate(candidate, (struct operation){NULL, sample, 1, LAST});
    expire(candidate);
    fflush(stdout);
}

int main(int count, char **words) {
    static const struct candidate *const candidates[] = {&bare, &ours, &timers_list, &timers_heap, &timers_dpdk};
    if (count != 4) {
        return 1;
    }
    places_dpdk(words[1], "64");
    all = (uint32_t)strtoul(words[2], NULL, 10);
    order = shuffled(1, all);
    polls = memory((all + 2ull * LAST) * sizeof *polls);
    for (int round = 0, rounds = atoi(words[3]); round < rounds; round++) {
        for (uint32_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
            if (round == 0 || !candidates[i]->slow) {
                round_of(candidates[i]);
            }
        }
        timers_now += LAST;
    }
    if (timers_wrong) {
        fprintf(stderr, "%lu timers ran out at another tick than theirs\n", (unsigned long)timers_wrong);
        return 5;
    }
    return 0;
}
