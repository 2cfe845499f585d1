/* Measures our connection table and DPDK's rte_hash, filled and asked in turns with the same flows in the same random
 * order, and the floor beside them: one line of a record read and written at random. Prints one line a measurement:
 * name, connections, nanoseconds an operation. Compiled and read by table.py. */
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <stdio.h>

#include "../dataplane/core.h"
#include "../dataplane/record.h"
#include "../dataplane/table.h"
#include "../runtime/arena.h"
#include "places.h"

enum { PARTS = 20 };

struct tables {
    uint32_t connections;
    struct core *core;
    struct rte_hash *theirs;
    struct record *records; /* of theirs */
    struct flow *flows;
    uint32_t *order;
    uint64_t wrong, sum;
};

static void shuffle(struct tables *tables) {
    for (uint32_t i = tables->connections - 1; i; i--) {
        uint32_t other = random_below(i + 1), kept = tables->order[i];
        struct flow flow = tables->flows[i];
        tables->order[i] = tables->order[other];
        tables->order[other] = kept;
        tables->flows[i] = tables->flows[other];
        tables->flows[other] = flow;
    }
}

static void open_ours(struct tables *tables) {
    struct arena_config config = {
        .connections = tables->connections, .busy_blocks = 64, .buffer_bytes = 1 << 20, .page_size = HUGE_PAGE};
    struct arena_header plan;
    if (arena_plan(&config, &plan)) {
        exit(3);
    }
    void *base = memory(plan.bytes);
    struct core_config core_config = {0};
    if (arena_format(base, &plan) || core_open(base, &core_config, 0, &tables->core)) {
        exit(3);
    }
}

static void open_all(struct tables *tables, uint32_t connections) {
    struct rte_hash_parameters parameters = {
        .name = "flows", .entries = connections, .key_len = sizeof(struct flow), .hash_func = rte_hash_crc};
    tables->connections = connections;
    tables->theirs = rte_hash_create(&parameters);
    if (!tables->theirs) {
        exit(4);
    }
    tables->records = memory((connections + 1ull) * sizeof *tables->records);
    tables->flows = memory(connections * sizeof *tables->flows);
    tables->order = memory(connections * sizeof *tables->order);
    for (uint32_t i = 0; i < connections; i++) {
        tables->flows[i] = (struct flow){0x0100000a, 0x400a + (i / 60000 << 16), 0x5000, (uint16_t)(1024 + i % 60000)};
        tables->order[i] = i;
    }
    open_ours(tables);
    shuffle(tables);
}

/* As a burst of SYNs: looked for first, then put in. */
static void insert_ours(struct tables *tables, uint32_t at, uint32_t count) {
    const struct flow *flows = tables->flows + at;
    uint32_t hashes[BURST], found[BURST];
    table_find(tables->core, flows, hashes, found, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = found[i] ? 0 : table_insert(tables->core, &flows[i], hashes[i]);
        tables->wrong += !index;
        tables->core->records[index].state = STATE_ESTABLISHED;
    }
}

static void insert_theirs(struct tables *tables, uint32_t at, uint32_t count) {
    const struct flow *flows = tables->flows + at;
    for (uint32_t i = 0; i < count; i++) {
        int32_t index = rte_hash_add_key(tables->theirs, &flows[i]);
        tables->wrong += index < 0;
        struct record *record = &tables->records[index < 0 ? 0 : index];
        record->flow = flows[i];
        record->state = STATE_ESTABLISHED;
    }
}

static void find_ours(struct tables *tables, uint32_t at, uint32_t count) {
    const struct flow *flows = tables->flows + at;
    uint32_t hashes[BURST], found[BURST];
    table_find(tables->core, flows, hashes, found, count);
    for (uint32_t i = 0; i < count; i++) {
        tables->wrong += !found[i];
        tables->core->records[found[i]].rcv_nxt++;
    }
}

static void find_theirs(struct tables *tables, uint32_t at, uint32_t count) {
    const struct flow *flows = tables->flows + at;
    const void *keys[BURST];
    int32_t found[BURST];
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = &flows[i];
    }
    rte_hash_lookup_bulk(tables->theirs, keys, count, found);
    for (uint32_t i = 0; i < count; i++) {
        tables->wrong += found[i] < 0;
        __builtin_prefetch(&tables->records[found[i]], 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        tables->records[found[i]].rcv_nxt++;
    }
}

static void touch(struct tables *tables, uint32_t at, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        __builtin_prefetch(&tables->records[tables->order[at + i]], 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        tables->records[tables->order[at + i]].rcv_nxt++;
    }
}

typedef void (*operation)(struct tables *, uint32_t, uint32_t);

static void measure(struct tables *tables, const char *name, operation run, uint32_t from, uint32_t count,
                    uint32_t batch) {
    int64_t began = clock_now();
    for (uint32_t done = 0; done < count; done += batch) {
        run(tables, from + done, count - done < batch ? count - done : batch);
    }
    printf("%s %u %.3f\n", name, tables->connections, (double)(clock_now() - began) / count);
}

static void fill(struct tables *tables) {
    uint32_t part = tables->connections / PARTS;
    for (uint32_t number = 0; number < PARTS; number++) {
        uint32_t from = number * part, count = number + 1 < PARTS ? part : tables->connections - from;
        measure(tables, "insert_ours", insert_ours, from, count, BURST);
        measure(tables, "insert_theirs", insert_theirs, from, count, BURST);
    }
}

static void ask(struct tables *tables, int rounds) {
    uint32_t count = tables->connections < 1000000 ? tables->connections : 1000000;
    for (int round = 0; round < rounds; round++) {
        shuffle(tables);
        measure(tables, "floor", touch, 0, count, BURST);
        measure(tables, "find_ours", find_ours, 0, count, BURST);
        measure(tables, "find_theirs", find_theirs, 0, count, BURST);
        measure(tables, "find_one_ours", find_ours, 0, count, 1);
        measure(tables, "find_one_theirs", find_theirs, 0, count, 1);
    }
}

int main(int count, char **words) {
    struct tables tables = {0};
    if (count != 4) {
        return 1;
    }
    places_dpdk(words[1], "2048");
    open_all(&tables, (uint32_t)strtoul(words[2], NULL, 10));
    fill(&tables);
    ask(&tables, atoi(words[3]));
    if (tables.wrong) {
        fprintf(stderr, "%lu operations went wrong\n", (unsigned long)tables.wrong);
        return 5;
    }
    return 0;
}
