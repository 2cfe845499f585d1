/* The arithmetic of an arena and its first state. arena_plan runs anywhere; arena_format runs once, before the core's
 * worker starts. Maps nothing, knows no core: what a section holds is its owner's business, how many bytes is here. */
#include "arena.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include "../dataplane/buffer.h"
#include "../dataplane/configure.h"
#include "../dataplane/core.h"
#include "../dataplane/histogram.h"
#include "../dataplane/neighbour.h"
#include "../dataplane/push.h"
#include "../dataplane/record.h"
#include "../dataplane/routes.h"
#include "../dataplane/stats.h"
#include "../dataplane/table.h"
#include "../dataplane/time_wait.h"
#include "../dataplane/timer.h"
#include "../dataplane/topic.h"

enum { LINE = 64 };

static const uint64_t MAGIC = 0x4e4c5054494c5053ull; /* "SPLITPLN" as it lies in memory */

_Static_assert(sizeof(struct arena_header) <= ARENA_HEADER_BYTES, "the header fits its page");
_Static_assert(sizeof(struct core_state) % LINE == 0, "sections start on cache lines");
_Static_assert(sizeof(struct histogram) % LINE == 0, "nobody else's line");

static int limits_hold(const struct arena_config *config) {
    const uint64_t most = (1u << RECORD_INDEX_BITS) - 1;
    const uint64_t huge = 1ull << 46;
    uint64_t page = config->page_size;
    if (config->connections < 1 || config->connections > most || config->busy_blocks > most)
        return 0;
    if (config->core_id >= 1u << CORE_HANDLE_BITS || page < ARENA_HEADER_BYTES || page & (page - 1))
        return 0;
    if (config->buffer_bytes > (uint64_t)UINT32_MAX * LINE || config->time_wait >= most)
        return 0;
    if (config->subscriptions > most << 4 || config->config_bytes > most)
        return 0;
    return config->side_state_bytes < 1u << 20 && config->actor_bytes < huge && config->frame_bytes < huge &&
           page <= 1ull << 30;
}

static void section_bytes(const struct arena_config *config, uint64_t *bytes) {
    uint64_t records = config->connections + 1;
    bytes[SECTION_STATE] = sizeof(struct core_state);
    bytes[SECTION_COUNTERS] = COUNTER_COUNT * sizeof(uint64_t);
    bytes[SECTION_HISTOGRAMS] = HISTOGRAM_COUNT * sizeof(struct histogram);
    bytes[SECTION_RECORDS] = records * sizeof(struct record);
    bytes[SECTION_INDEX] = table_buckets(config->connections) * sizeof(struct bucket);
    bytes[SECTION_BUSY] = (config->busy_blocks + 1) * sizeof(struct busy);
    bytes[SECTION_TIMERS] = timer_bytes(config->connections);
    bytes[SECTION_BUFFERS] = buffer_section_bytes(config->buffer_bytes);
    bytes[SECTION_TIME_WAIT] = time_wait_bytes(config->time_wait);
    bytes[SECTION_NEIGHBOURS] = NEIGHBOURS * sizeof(struct neighbour);
    bytes[SECTION_ROUTES] = sizeof(struct routes);
    bytes[SECTION_SIDE_STATE] = config->side_state_bytes ? records * config->side_state_bytes : 0;
    bytes[SECTION_ACTORS] = config->actor_bytes;
    bytes[SECTION_FRAMES] = config->frame_bytes;
    bytes[SECTION_PUSH] = PUSH_STATE_BYTES + topic_bytes(config->connections, config->subscriptions);
    bytes[SECTION_CONFIG] = sizeof(struct configuration) + 2 * config->config_bytes;
}

int arena_plan(const struct arena_config *config, struct arena_header *header) {
    uint64_t bytes[SECTION_COUNT];
    uint64_t offset = ARENA_HEADER_BYTES;
    if (!limits_hold(config))
        return -EINVAL;
    memset(header, 0, sizeof *header);
    section_bytes(config, bytes);
    for (int section = 0; section < SECTION_COUNT; section++) {
        /* A driver registers its frames page by page. */
        uint64_t align = section == SECTION_FRAMES ? ARENA_HEADER_BYTES : LINE;
        offset = (offset + align - 1) & ~(align - 1);
        header->sections[section] = (struct arena_span){.offset = offset, .bytes = bytes[section]};
        if (__builtin_add_overflow(offset, bytes[section], &offset) || offset > 1ull << 47)
            return -EOVERFLOW;
    }
    header->magic = MAGIC;
    header->abi = ARENA_ABI;
    header->core_id = (uint32_t)config->core_id;
    header->layout_hash = config->layout_hash;
    header->bytes = (offset + config->page_size - 1) & ~(config->page_size - 1);
    header->page_size = config->page_size;
    header->config = *config;
    return 0;
}

int arena_format(void *base, const struct arena_header *plan) {
    struct arena_header *header = base;
    struct core_state *state = (void *)((uint8_t *)base + plan->sections[SECTION_STATE].offset);
    if (plan->magic != MAGIC || plan->abi != ARENA_ABI)
        return -EINVAL;
    if (getrandom(state->key, sizeof state->key, 0) != sizeof state->key)
        return -EAGAIN;
    struct configuration *configuration = (void *)((uint8_t *)base + plan->sections[SECTION_CONFIG].offset);
    configuration->bytes = (uint32_t)plan->config.config_bytes;
    state->record_fresh = 1;
    state->busy_fresh = 1;
    state->chunk_fresh = 1;
    state->buffer_fresh = LINE; /* unit 0 means "none" */
    *header = *plan;
    header->ready = 0;
    /* Whoever finds `ready` finds the rest: pairs with the acquire in arena_check. */
    __atomic_store_n(&header->ready, 1, __ATOMIC_RELEASE);
    return 0;
}

int arena_check(const void *base, uint64_t bytes, uint64_t layout_hash) {
    const struct arena_header *header = base;
    if (bytes < ARENA_HEADER_BYTES)
        return -EINVAL;
    if (__atomic_load_n(&header->ready, __ATOMIC_ACQUIRE) != 1 || header->magic != MAGIC)
        return -EBADMSG;
    if (header->abi != ARENA_ABI)
        return -EPROTO;
    if (header->layout_hash != layout_hash)
        return -ESTALE;
    return header->bytes == bytes ? 0 : -EINVAL;
}
