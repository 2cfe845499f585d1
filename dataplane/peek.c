/* Reading a core's arena from outside: see peek.h. Runs in any process, on no core; every index is checked, because the
 * core may be half through with it. */
#include "peek.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "../runtime/arena.h"
#include "buffer.h"
#include "core.h"
#include "record.h"
#include "share.h"

enum { TRIES = 3, AHEAD = 1 << 20 /* milliseconds */ };

_Static_assert(sizeof(struct peek_row) == 96, "no holes that NumPy would show");

static const void *section(const void *arena, enum arena_section number) {
    return (const uint8_t *)arena + ((const struct arena_header *)arena)->sections[number].offset;
}

int peek_check(const void *arena, uint64_t bytes) {
    const struct arena_header *header = arena;
    struct arena_header plan;
    int error = arena_check(arena, bytes, bytes >= ARENA_HEADER_BYTES ? header->layout_hash : 0);
    if (error)
        return error;
    error = arena_plan(&header->config, &plan);
    if (error)
        return error;
    return memcmp(plan.sections, header->sections, sizeof plan.sections) || plan.bytes > bytes ? -EINVAL : 0;
}

uint32_t peek_end(const void *arena) {
    const struct arena_header *header = arena;
    const struct core_state *state = section(arena, SECTION_STATE);
    uint32_t fresh = __atomic_load_n(&state->record_fresh, __ATOMIC_RELAXED);
    return fresh <= header->config.connections ? fresh : (uint32_t)header->config.connections + 1;
}

static uint32_t tick_of(const void *arena) {
    const struct core_state *state = section(arena, SECTION_STATE);
    uint32_t tick = (uint32_t)(__atomic_load_n(&state->now, __ATOMIC_RELAXED) / 1000000);
    return tick ? tick : 1;
}

static int32_t until(uint32_t deadline, uint32_t tick) {
    if (!deadline)
        return PEEK_NEVER;
    int32_t left = (int32_t)(deadline - tick);
    return left > 0 ? left : 0;
}

/* Right up to the wrap at 49.7 days. The core goes on after we have looked at its clock, so `then` may lie ahead. */
static uint32_t since(uint32_t then, uint32_t tick) {
    uint32_t passed = tick - then;
    return passed < UINT32_MAX - AHEAD ? passed : 0;
}

/* Bytes of pushes that wait (share.h); the list may be replaced while it is read, then it is none. */
static uint32_t shared(const void *arena, const struct busy *busy) {
    uint64_t list = __atomic_load_n(&busy->shared_list, __ATOMIC_RELAXED);
    uint32_t size_class = busy->shared_class, last = busy->shared_first + busy->shared_count - 1u;
    uint64_t end = (list * 64) + (1ull << (size_class & 31));
    if (!list || size_class > SHARE_LIST_CLASS_MAX || end > ((const struct arena_header *)arena)->config.buffer_bytes)
        return 0;
    const struct share_entry *entries = (const void *)((const uint8_t *)section(arena, SECTION_BUFFERS) + list * 64);
    const struct share_entry *entry = &entries[last & ((1u << size_class >> 4) - 1)];
    uint32_t left = entry->start + entry->length - busy->shared_done;
    return left < 1u << 31 ? left : 0;
}

static void fill_busy(const void *arena, const struct busy *busy, uint32_t tick, struct peek_row *row) {
    row->kept = busy->receive_length;
    row->need = busy->need;
    row->queued = busy->send_length + shared(arena, busy);
    row->congestion_window = busy->cwnd;
    row->retransmit_timeout = busy->rto;
    row->retransmit_due = until(busy->rto_deadline, tick);
    row->ack_due = until(busy->ack_deadline, tick);
    row->probe_due = until(busy->persist_deadline, tick);
    row->retransmits = busy->retransmits;
    row->probes = busy->persists;
    row->recovering = busy->recovering;
}

static void fill(const void *arena, const struct record *record, uint32_t tick, struct peek_row *row) {
    const struct arena_header *header = arena;
    memset(row, 0, sizeof *row);
    row->local_address = ntohl(record->flow.local_address);
    row->remote_address = ntohl(record->flow.remote_address);
    row->local_port = ntohs(record->flow.local_port);
    row->remote_port = ntohs(record->flow.remote_port);
    row->core = (uint8_t)header->core_id;
    row->listener = record->listener;
    row->flags = record->flags;
    row->mss = record->mss;
    uint32_t opened = record->opened;
    row->idle = since(record->last_activity, tick);
    row->age = since(opened ? opened : record->last_activity, tick);
    row->in_flight = record->snd_nxt - record->snd_una;
    row->window = record->snd_wnd;
    row->round_trip = record->srtt;
    row->timer_due = until(record->application_deadline, tick);
    row->transport_due = until(record->transport_deadline, tick);
    row->retransmit_due = row->ack_due = row->probe_due = PEEK_NEVER;
    uint32_t block = __atomic_load_n(&record->busy, __ATOMIC_RELAXED);
    if (block && block <= header->config.busy_blocks)
        fill_busy(arena, (const struct busy *)section(arena, SECTION_BUSY) + block, tick, row);
}

/* 1 with the row of the connection at `index`; 0: there is none, or it changed hands each time we looked. Taking and
 * freeing a record both move its generation, after clearing it and before its state is set (record.c). */
static int read_row(const void *arena, uint32_t index, uint32_t tick, struct peek_row *row) {
    const struct arena_header *header = arena;
    const struct record *record = (const struct record *)section(arena, SECTION_RECORDS) + index;
    for (int tries = 0; tries < TRIES; tries++) {
        uint32_t generation = __atomic_load_n(&record->generation, __ATOMIC_ACQUIRE);
        uint8_t state = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&record->next, __ATOMIC_RELAXED) < RECORD_TAKEN || state == STATE_CLOSED)
            return 0;
        fill(arena, record, tick, row);
        row->state = state;
        row->handle = (int64_t)header->core_id << (RECORD_GENERATION_BITS + RECORD_INDEX_BITS) |
                      (int64_t)generation << RECORD_INDEX_BITS | index;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&record->generation, __ATOMIC_RELAXED) == generation)
            return 1;
    }
    return 0;
}

uint32_t peek_rows(const void *arena, uint32_t first, uint32_t count, struct peek_row *rows) {
    uint32_t tick = tick_of(arena), end = peek_end(arena), found = 0;
    if (first == RECORD_NONE)
        first = 1;
    for (uint32_t index = first; index < end && index - first < count; index++)
        found += (uint32_t)read_row(arena, index, tick, &rows[found]);
    return found;
}

int peek_handle(const void *arena, int64_t handle, struct peek_row *row) {
    uint32_t index = (uint32_t)handle & ((1u << RECORD_INDEX_BITS) - 1);
    if (handle <= 0 || index == RECORD_NONE || index >= peek_end(arena))
        return 0;
    return read_row(arena, index, tick_of(arena), row) && row->handle == handle;
}

static uint64_t buffers_free(const struct core_state *state, uint64_t bytes) {
    uint64_t fresh = state->buffer_fresh, free = bytes > fresh ? bytes - fresh : 0;
    free += (uint64_t)state->buffers_at_hand << BUFFER_CLASS_MIN;
    for (uint32_t size_class = BUFFER_CLASS_MIN; size_class <= BUFFER_CLASS_MAX; size_class++)
        free += (uint64_t)state->buffer_count[size_class - BUFFER_CLASS_MIN] << size_class;
    return free < bytes ? free : bytes;
}

void peek_fill(const void *arena, struct peek_fill *fill) {
    const struct arena_config *config = &((const struct arena_header *)arena)->config;
    const struct core_state *state = section(arena, SECTION_STATE);
    uint32_t head = state->time_wait_head, tail = state->time_wait_tail;
    fill->connections = state->live;
    fill->connections_most = config->connections;
    fill->half_open = state->half_open;
    fill->busy = state->busy_used;
    fill->busy_most = config->busy_blocks;
    fill->buffers_most = config->buffer_bytes / 64 * 64;
    fill->buffers = fill->buffers_most - buffers_free(state, fill->buffers_most);
    fill->time_wait = tail >= head ? tail - head : tail + 2 * config->time_wait - head;
    fill->time_wait_most = config->time_wait;
    fill->timers = state->wheel_entries;
    fill->timers_most = 2 * config->connections;
}
