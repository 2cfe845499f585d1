/* The peers of timers.c: the textbook's wheel (cascading, its slots doubly linked lists through the records, as Linux
 * had it), a binary heap whose records know their place, and DPDK's rte_timer (a skip list). Each record has 128 B, of
 * which the first line is used, as ours has. */
#include "timers.h"

#include <rte_cycles.h>
#include <rte_timer.h>

#include "places.h"

enum { LEVELS = 4, SLOTS = 256, SLOT_BITS = 8, NOWHERE = UINT32_MAX };

struct peer {
    uint32_t deadline, fired;
    uint32_t next, previous; /* list */
    uint32_t place;          /* slot, or position in the heap; NOWHERE: not armed */
    uint32_t rest[27];
};

struct entry {
    uint32_t deadline, index;
};

_Static_assert(sizeof(struct peer) == 128, "as our records");

static struct peer *peers; /* of whoever is measured now */
static uint32_t heads[LEVELS * SLOTS], due, list_tick;
static struct entry *heap;
static uint32_t heap_count, heap_tick;
static struct rte_timer *rte_timers;
static uint64_t rte_began;

enum { CYCLES_A_TICK = 1000 };

static void records(uint32_t count) {
    if (!peers) {
        peers = memory((count + 1ull) * sizeof *peers);
    }
    for (uint32_t index = 0; index <= count; index++) {
        peers[index].place = NOWHERE;
    }
}

static void fetch(uint32_t index) {
    __builtin_prefetch(&peers[index], 1);
}

static void fire(uint32_t index, uint32_t tick) {
    peers[index].place = NOWHERE;
    peers[index].fired++;
    timers_fired++;
    timers_wrong += peers[index].deadline != tick;
}

static void list_open(uint32_t count) {
    records(count);
    memset(heads, 0, sizeof heads);
    due = 0;
    list_tick = timers_now;
}

static uint32_t slot_for(uint32_t deadline) {
    uint32_t delta = deadline - list_tick, level = 0;
    while (level < LEVELS - 1 && delta >= 1u << SLOT_BITS * (level + 1)) {
        level++;
    }
    return level * SLOTS + (deadline >> SLOT_BITS * level) % SLOTS;
}

static void list_link(uint32_t index) {
    struct peer *peer = &peers[index];
    uint32_t *head = &heads[peer->place = slot_for(peer->deadline)];
    peer->next = *head;
    peer->previous = 0;
    if (*head) {
        peers[*head].previous = index;
    }
    *head = index;
}

static void list_cancel(uint32_t index) {
    struct peer *peer = &peers[index];
    if (peer->previous) {
        peers[peer->previous].next = peer->next;
    } else {
        heads[peer->place] = peer->next;
    }
    if (peer->next) {
        peers[peer->next].previous = peer->previous;
    }
    peer->place = NOWHERE;
}

static void list_arm(uint32_t index, uint32_t deadline) {
    if (peers[index].place != NOWHERE) {
        list_cancel(index);
    }
    peers[index].deadline = deadline;
    list_link(index);
}

/* The next tick, what must come down from wider slots first. */
static void list_advance(void) {
    list_tick++;
    for (uint32_t level = 1; level < LEVELS && !(list_tick & ((1u << SLOT_BITS * level) - 1)); level++) {
        uint32_t *head = &heads[level * SLOTS + (list_tick >> SLOT_BITS * level) % SLOTS], index = *head;
        *head = 0;
        while (index) {
            uint32_t next = peers[index].next;
            list_link(index);
            index = next;
        }
    }
    due = heads[list_tick % SLOTS];
    heads[list_tick % SLOTS] = 0;
}

static uint32_t list_poll(uint32_t tick) {
    uint32_t looked = 0;
    while (!due && list_tick != tick) {
        list_advance();
    }
    for (; due && looked < POLL_BUDGET; looked++) {
        uint32_t next = peers[due].next;
        fire(due, tick);
        due = next;
    }
    return looked;
}

static void heap_open(uint32_t count) {
    records(count);
    if (!heap) {
        heap = memory((count + 2ull) * sizeof *heap);
    }
    heap_count = 0;
    heap_tick = timers_now;
}

static void heap_put(uint32_t place, struct entry entry) {
    heap[place] = entry;
    peers[entry.index].place = place;
}

/* Moves an entry to its place, from a hole at `place`; places count from 1. */
static void heap_settle(uint32_t place, struct entry entry) {
    while (place > 1 && entry.deadline < heap[place / 2].deadline) {
        heap_put(place, heap[place / 2]);
        place /= 2;
    }
    for (uint32_t child; (child = 2 * place) <= heap_count; place = child) {
        child += child < heap_count && heap[child + 1].deadline < heap[child].deadline;
        if (entry.deadline <= heap[child].deadline) {
            break;
        }
        heap_put(place, heap[child]);
    }
    heap_put(place, entry);
}

static void heap_arm(uint32_t index, uint32_t deadline) {
    uint32_t place = peers[index].place;
    peers[index].deadline = deadline;
    heap_settle(place == NOWHERE ? ++heap_count : place, (struct entry){deadline, index});
}

static void heap_cancel(uint32_t index) {
    struct entry last = heap[heap_count--];
    if (last.index != index) {
        heap_settle(peers[index].place, last);
    }
    peers[index].place = NOWHERE;
}

static uint32_t heap_poll(uint32_t tick) {
    uint32_t looked = 0;
    for (; heap_count && heap[1].deadline <= tick && looked < POLL_BUDGET; looked++) {
        uint32_t index = heap[1].index;
        heap_cancel(index);
        fire(index, tick);
    }
    return looked;
}

static void dpdk_open(uint32_t count) {
    records(count);
    if (rte_timers) {
        return;
    }
    rte_timers = memory((count + 1ull) * sizeof *rte_timers);
    for (uint32_t index = 0; index <= count; index++) {
        rte_timer_init(&rte_timers[index]);
    }
    if (rte_timer_subsystem_init()) {
        exit(6);
    }
    rte_began = rte_get_timer_cycles();
}

static void dpdk_fetch(uint32_t index) {
    __builtin_prefetch(&peers[index], 1);
    __builtin_prefetch(&rte_timers[index], 1);
    __builtin_prefetch((uint8_t *)&rte_timers[index] + 64, 1);
}

static void dpdk_fired(struct rte_timer *timer, void *peer) {
    (void)timer;
    ((struct peer *)peer)->fired++;
    timers_fired++;
}

/* rte_timer reads the CPU's own counter, so its ticks are a thousand cycles: in their order, and all past by the time
 * that many are armed. Spread over the tick, because it walks along all that are equal. */
static void dpdk_arm(uint32_t index, uint32_t deadline) {
    uint64_t at = rte_began + (uint64_t)deadline * CYCLES_A_TICK + index * 2654435761u % CYCLES_A_TICK;
    peers[index].deadline = deadline;
    rte_timer_reset(&rte_timers[index], at - rte_get_timer_cycles(), SINGLE, rte_lcore_id(), dpdk_fired, &peers[index]);
}

static void dpdk_cancel(uint32_t index) {
    rte_timer_stop(&rte_timers[index]);
}

static uint32_t dpdk_poll(uint32_t tick) {
    (void)tick;
    uint64_t before = timers_fired;
    rte_timer_manage();
    return (uint32_t)(timers_fired - before);
}

const struct candidate timers_list = {"list", list_open, fetch, list_arm, list_cancel, list_poll, 0};
const struct candidate timers_heap = {"heap", heap_open, fetch, heap_arm, heap_cancel, heap_poll, 0};
const struct candidate timers_dpdk = {"dpdk", dpdk_open, dpdk_fetch, dpdk_arm, dpdk_cancel, dpdk_poll, 1};
