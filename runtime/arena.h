/* One core's memory: a memfd with a versioned header and sections, found by offset, never by pointer.
 * Any process may map it anywhere; a new worker adopts it. Sized by arena_plan, written by its core, read by all. */
#pragma once

#include <stdint.h>

enum { ARENA_ABI = 4, ARENA_HEADER_BYTES = 4096 };

enum arena_section {
    SECTION_STATE,      /* struct core_state */
    SECTION_COUNTERS,   /* uint64_t[COUNTER_COUNT] */
    SECTION_HISTOGRAMS, /* struct histogram[HISTOGRAM_COUNT] */
    SECTION_RECORDS,    /* struct record[connections + 1] */
    SECTION_INDEX,      /* table.h: the buckets */
    SECTION_BUSY,       /* struct busy[busy_blocks + 1] */
    SECTION_TIMERS,     /* timer.h: slots, then chunks */
    SECTION_BUFFERS,    /* buffer.h: send and receive buffers */
    SECTION_TIME_WAIT,  /* time_wait.h: ring of entries, then their index */
    SECTION_NEIGHBOURS, /* neighbour.h: NEIGHBOURS * 8 bytes */
    SECTION_ROUTES,     /* struct routes: the control plane writes it */
    SECTION_SIDE_STATE, /* application state beyond RECORD_STATE_BYTES */
    SECTION_ACTORS,     /* self.core of each actor */
    SECTION_FRAMES,     /* UMEM of a frame driver */
    SECTION_PUSH,       /* push.h: struct push_state, then topic.h: subscriptions */
    SECTION_CONFIG,     /* configure.h: struct configuration, then two images */
    SECTION_COUNT,
};

struct arena_config {
    uint64_t connections; /* records, without the unused one at index 0 */
    uint64_t busy_blocks;
    uint64_t buffer_bytes;
    uint64_t time_wait;        /* entries */
    uint64_t side_state_bytes; /* per connection, all actors' largest */
    uint64_t actor_bytes;      /* all actors' core state, each aligned to 64 */
    uint64_t frame_bytes;
    uint64_t core_id;
    uint64_t subscriptions;
    uint64_t config_bytes; /* all actors' configs, each aligned to 8 */
    uint64_t layout_hash;
    uint64_t page_size; /* bytes; sections start on 64 B, the whole is a multiple of this */
};

struct arena_span {
    uint64_t offset, bytes;
};

struct arena_header {
    uint64_t magic; /* "SPLITPLN" */
    uint32_t abi;
    uint32_t core_id;
    uint64_t layout_hash;
    uint64_t bytes; /* of the whole arena */
    uint64_t page_size;
    uint64_t ready; /* 1 once arena_format is through; an arena without it is formatted anew */
    struct arena_config config;
    struct arena_span sections[SECTION_COUNT];
};

int arena_plan(const struct arena_config *config,
               struct arena_header *header);                   /* fills sections and bytes; -EINVAL, -EOVERFLOW */
int arena_format(void *base, const struct arena_header *plan); /* zeroes nothing: a fresh memfd is zero */
/* 0, or -EBADMSG (magic), -EPROTO (ABI), -ESTALE (layout hash), -EINVAL (bytes). */
int arena_check(const void *base, uint64_t bytes, uint64_t layout_hash);
