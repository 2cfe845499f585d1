/* Opening a core: pointers into a mapped arena, and the worker's own lists. The only allocations of a data-plane core,
 * touched here so that the loop takes no page fault. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "../runtime/arena.h"
#include "buffer.h"
#include "configure.h"
#include "hash.h"
#include "intent.h"
#include "push.h"
#include "record.h"
#include "stats.h"
#include "table.h"
#include "timer.h"
#include "topic.h"

_Static_assert(sizeof(struct core_state) == 384, "six cache lines");

void core_group(struct core *core, uint32_t cores, uint32_t next) {
    core->group_cores = cores;
    core->group_next = next;
}

int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* vDSO: no system call */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void set_clock(struct core *core, int64_t now) {
    uint32_t tick = (uint32_t)(now / 1000000);
    core->now = now;
    core->tick = tick ? tick : 1; /* 0 means "no deadline" */
}

void core_clock(struct core *core, int64_t now) {
    core->virtual_clock = 1;
    set_clock(core, now);
}

static void *section(void *base, enum arena_section number) {
    return (uint8_t *)base + ((struct arena_header *)base)->sections[number].offset;
}

static void point_into(struct core *core, void *base) {
    const struct arena_header *header = base;
    core->state = section(base, SECTION_STATE);
    core->counters = section(base, SECTION_COUNTERS);
    core->measured_calls = core->counters[COUNTER_HANDLER_CALLS];
    core->histograms = section(base, SECTION_HISTOGRAMS);
    core->records = section(base, SECTION_RECORDS);
    core->index = section(base, SECTION_INDEX);
    core->busy = section(base, SECTION_BUSY);
    core->timers = section(base, SECTION_TIMERS);
    core->buffers = section(base, SECTION_BUFFERS);
    core->time_wait = section(base, SECTION_TIME_WAIT);
    core->neighbours = section(base, SECTION_NEIGHBOURS);
    core->routes = section(base, SECTION_ROUTES);
    core->side_state = section(base, SECTION_SIDE_STATE);
    core->actor_state = section(base, SECTION_ACTORS);
    core->frames = section(base, SECTION_FRAMES);
    core->configuration = section(base, SECTION_CONFIG);
    core->push = section(base, SECTION_PUSH);
    core->subscriptions = (uint32_t)header->config.subscriptions;
    core->capacity = (uint32_t)header->config.connections;
    core->buckets = (uint32_t)table_buckets(header->config.connections);
    core->busy_blocks = (uint32_t)header->config.busy_blocks;
    core->buffer_bytes = header->config.buffer_bytes / 64 * 64;
    core->timer_chunks = timer_chunks(header->config.connections);
    core->time_wait_entries = (uint32_t)header->config.time_wait;
    topic_attach(core, (uint8_t *)core->push + PUSH_STATE_BYTES);
}

/* calloc hands out pages that exist only once written. */
static void *touched(uint64_t bytes) {
    void *memory = malloc(bytes);
    if (memory)
        memset(memory, 0xff, bytes);
    return memory;
}

static uint64_t list_places(uint64_t connections) {
    return connections < CORE_LISTED ? connections : CORE_LISTED;
}

static uint64_t listed_bytes(uint64_t connections) {
    return (connections / 64 + 1) * sizeof(uint64_t);
}

uint64_t core_list_bytes(uint64_t connections) {
    return 2 * list_places(connections) * sizeof(uint32_t) + listed_bytes(connections);
}

static struct record_list list_of(const struct core *core) {
    uint32_t places = (uint32_t)list_places(core->capacity);
    return (struct record_list){.places = touched(places * sizeof(uint32_t)), .room = places, .sweep = 1};
}

static int allocate_lists(struct core *core) {
    core->pending = list_of(core);
    core->again = list_of(core);
    core->again.listed = touched(listed_bytes(core->capacity));
    core->staging = touched(2 * CORE_STAGING);
    if (!core->pending.places || !core->again.places || !core->again.listed || !core->staging)
        return -ENOMEM;
    memset(core->again.listed, 0, listed_bytes(core->capacity));
    return 0;
}

static int settle_hash(struct core *core, int adopt) {
    if (!adopt)
        core->state->hash_kind = hash_best();
    return hash_supported(core->state->hash_kind) ? 0 : -ENOTSUP;
}

static void adopt_arena(struct core *core) {
    table_recover(core);
    buffer_recover(core);
    timer_recover(core);
    core->state->adoptions++;
    core->counters[COUNTER_ADOPTIONS]++;
}

int core_open(void *base, const struct core_config *config, int adopt, struct core **result) {
    const struct arena_header *header = base;
    uint64_t bytes = header->bytes > ARENA_HEADER_BYTES ? header->bytes : ARENA_HEADER_BYTES;
    int error = arena_check(base, bytes, header->layout_hash);
    if (error)
        return error;
    /* Not malloc: with the memset that would become calloc, whose pages exist only once written. */
    struct core *core = aligned_alloc(64, (sizeof *core + 63) / 64 * 64);
    if (!core)
        return -ENOMEM;
    memset(core, 0, sizeof *core);
    point_into(core, base);
    core->config = *config;
    core->mtu = config->mtu;
    core->bell = -1;
    error = settle_hash(core, adopt);
    if (!error)
        error = allocate_lists(core);
    if (error) {
        core_close(core);
        return error;
    }
    set_clock(core, clock_now());
    core->state->worker_pid = (uint32_t)getpid();
    if (adopt)
        adopt_arena(core);
    *result = core;
    return 0;
}

void core_close(struct core *core) {
    if (!core)
        return;
    for (uint32_t i = 0; i < core->listener_count; i++)
        free(core->listeners[i].actor);
    free(core->pending.places);
    free(core->again.places);
    free(core->again.listed);
    free(core->staging);
    free(core);
}

struct actor *core_listen(struct core *core, uint16_t port, int descriptor) {
    if (core->listener_count == ACTOR_LISTENERS)
        return NULL;
    struct actor *actor = malloc(sizeof *actor);
    if (!actor)
        return NULL;
    memset(actor, 0, sizeof *actor);
    core->listeners[core->listener_count++] = (struct listener){
        .port = port,
        .open = 1,
        .descriptor = descriptor,
        .actor = actor,
    };
    return actor;
}

void core_bell(struct core *core, int descriptor) {
    core->bell = descriptor;
}

void core_peer(struct core *core, uint32_t peer, struct ring *to, struct ring *from) {
    if (peer >= CORE_PEERS)
        return;
    core->to[peer] = to;
    core->from[peer] = from;
    if (peer == CORE_CONTROL)
        return;
    core->from_cores &= ~(1ull << peer);
    core->from_cores |= (uint64_t)(from != NULL) << peer;
}
