/* Measures our buffers beside malloc, DPDK's rte_mempool and the floor, a bare list through free buffers of one size:
 * the same buffer again and again, many exchanged at random, many given back and taken in random order. A line of each
 * buffer taken is written. Prints one line a measurement: name, buffers held, nanoseconds for one taken and given back.
 * Compiled and read by buffers.py. */
#include <rte_mempool.h>
#include <stdio.h>

#include "../dataplane/buffer.h"
#include "../dataplane/core.h"
#include "../runtime/arena.h"
#include "places.h"

enum { LEAST = BUFFER_CLASS_MIN, MOST = 11, CLASSES = MOST - LEAST + 1, HOT = 1000000 };
enum { CACHE = RTE_MEMPOOL_CACHE_MAX_SIZE };

struct candidate {
    const char *name;
    void *(*take)(uint32_t size_class);
    void (*give)(void *buffer, uint32_t size_class);
};

struct set { /* the buffers of one measurement */
    const char *name;
    uint32_t count, least, most; /* classes, at random from least to most */
    void **held;
    uint8_t *classes, *other; /* of those held; of those they are exchanged for */
    uint32_t *order;
};

static struct core *core;
static struct rte_mempool *pools[CLASSES];

struct bare {
    struct bare *next;
};
static struct bare *free_lists[CLASSES];

static void *ours_take(uint32_t size_class) {
    uint32_t buffer = buffer_take(core, size_class);
    return buffer ? buffer_bytes_at(core, buffer) : NULL;
}

static void ours_give(void *buffer, uint32_t size_class) {
    buffer_give(core, (uint32_t)(((uint8_t *)buffer - core->buffers) / 64), size_class);
}

static void *malloc_take(uint32_t size_class) {
    return malloc(1ul << size_class);
}

static void malloc_give(void *buffer, uint32_t size_class) {
    (void)size_class;
    free(buffer);
}

static void *mempool_take(uint32_t size_class) {
    void *buffer;
    return rte_mempool_get(pools[size_class - LEAST], &buffer) ? NULL : buffer;
}

static void mempool_give(void *buffer, uint32_t size_class) {
    rte_mempool_put(pools[size_class - LEAST], buffer);
}

static void *floor_take(uint32_t size_class) {
    struct bare *buffer = free_lists[size_class - LEAST];
    if (buffer) {
        free_lists[size_class - LEAST] = buffer->next;
    }
    return buffer;
}

static void floor_give(void *buffer, uint32_t size_class) {
    ((struct bare *)buffer)->next = free_lists[size_class - LEAST];
    free_lists[size_class - LEAST] = buffer;
}

static const struct candidate candidates[] = {{"floor", floor_take, floor_give},
                                              {"ours", ours_take, ours_give},
                                              {"malloc", malloc_take, malloc_give},
                                              {"mempool", mempool_take, mempool_give}};

/* Of each size a half more than is held on average; as many bytes for our buddies, of which they make all sizes. */
static void open_all(const struct set *set) {
    uint32_t kinds = set->most - set->least + 1;
    uint32_t each = set->count / kinds + (kinds > 1 ? set->count / kinds / 2 : 0) + 2 * CACHE;
    uint64_t bytes = 0;
    for (uint32_t size_class = set->least; size_class <= set->most; size_class++) {
        char name[16];
        snprintf(name, sizeof name, "pool%u", size_class);
        struct rte_mempool *pool =
            rte_mempool_create(name, each, 1u << size_class, CACHE, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
        uint8_t *base = memory((uint64_t)each << size_class);
        if (!pool) {
            exit(4);
        }
        pools[size_class - LEAST] = pool;
        for (uint32_t i = each; i; i--) {
            floor_give(base + ((uint64_t)(i - 1) << size_class), size_class);
        }
        bytes += (uint64_t)each << size_class;
    }
    struct arena_config config = {.connections = 64,
                                  .busy_blocks = 64,
                                  .buffer_bytes = (bytes & -(1ull << 20)) + (4 << 20),
                                  .page_size = HUGE_PAGE};
    struct core_config core_config = {0};
    struct arena_header plan;
    if (arena_plan(&config, &plan)) {
        exit(3);
    }
    void *base = memory(plan.bytes);
    if (arena_format(base, &plan) || core_open(base, &core_config, 0, &core)) {
        exit(3);
    }
}

static void *take(const struct candidate *candidate, uint32_t size_class) {
    uint64_t *buffer = candidate->take(size_class);
    if (!buffer) {
        fprintf(stderr, "%s has no buffer of %u bytes left\n", candidate->name, 1u << size_class);
        exit(5);
    }
    buffer[2]++; /* on the line of what an allocator writes into a free one, behind it */
    return buffer;
}

static void print(const struct set *set, const char *name, const struct candidate *candidate, int64_t began,
                  uint64_t count) {
    double each = (double)(clock_now() - began) / (double)count;
    printf("%s_%s_%s %u %.3f\n", name, set->name, candidate->name, set->count, each);
}

static void hot(const struct set *set, const struct candidate *candidate) {
    int64_t began = clock_now();
    for (uint32_t i = 0; i < HOT; i++) {
        uint8_t size_class = set->classes[i % set->count];
        candidate->give(take(candidate, size_class), size_class);
    }
    print(set, "hot", candidate, began, HOT);
}

/* Each held one, in random order, for another, of another size where there are several. */
static void exchange(struct set *set, const struct candidate *candidate) {
    int64_t began = clock_now();
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t at = set->order[i];
        candidate->give(set->held[at], set->classes[at]);
        set->held[at] = take(candidate, set->other[at]);
    }
    print(set, "exchange", candidate, began, set->count);
    uint8_t *classes = set->classes;
    set->classes = set->other;
    set->other = classes;
}

/* All given back in random order, then all taken, likewise. */
static void drain(const struct set *set, const struct candidate *candidate, int told) {
    int64_t began = clock_now();
    for (uint32_t i = 0; i < set->count; i++) {
        candidate->give(set->held[set->order[i]], set->classes[set->order[i]]);
    }
    for (uint32_t i = 0; i < set->count; i++) {
        set->held[set->order[i]] = take(candidate, set->classes[set->order[i]]);
    }
    if (told) {
        print(set, "drain", candidate, began, set->count);
    }
}

static void measure(struct set *set, const struct candidate *candidate) {
    for (uint32_t i = 0; i < set->count; i++) {
        set->held[i] = take(candidate, set->classes[i]);
    }
    drain(set, candidate, 0); /* from here on what is free lies in random order */
    hot(set, candidate);
    exchange(set, candidate);
    drain(set, candidate, 1);
    for (uint32_t i = 0; i < set->count; i++) {
        candidate->give(set->held[set->order[i]], set->classes[set->order[i]]);
    }
}

int main(int count, char **words) {
    if (count != 7) {
        return 1;
    }
    places_dpdk(words[1], "2048");
    struct set set = {.name = words[2], .count = (uint32_t)strtoul(words[3], NULL, 10)};
    set.least = (uint32_t)atoi(words[4]);
    set.most = (uint32_t)atoi(words[5]);
    set.held = memory(set.count * sizeof *set.held);
    set.classes = memory(set.count);
    set.other = memory(set.count);
    for (uint32_t i = 0; i < set.count; i++) {
        set.classes[i] = (uint8_t)(set.least + random_below(set.most - set.least + 1));
        set.other[i] = (uint8_t)(set.least + random_below(set.most - set.least + 1));
    }
    set.order = shuffled(0, set.count);
    open_all(&set);
    for (int round = atoi(words[6]); round; round--) {
        for (uint32_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
            measure(&set, &candidates[i]);
        }
    }
    return 0;
}
