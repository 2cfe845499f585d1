/* The list of shared bytes between a connection's own. An entry counts once the number of entries says so, a byte is
 * acknowledged once shared_done says so: single stores, each of which leaves a whole queue behind. Owned by the core.
 */
#include "share.h"

#include <errno.h>
#include <stddef.h>
#include "buffer.h"
#include "core.h"
#include "intent.h"
#include "record.h"
#include "stream.h"
#include "stream_own.h"

enum { UNIT = 64, LIST_CLASS_MIN = BUFFER_CLASS_MIN };

_Static_assert(sizeof(struct share) == SHARE_HEADER, "the bytes follow it");
_Static_assert(offsetof(struct busy, shared_first) % 4 == 0, "first and count are stored at once");

static struct share *share_at(struct core *core, uint32_t share) {
    return (void *)buffer_bytes_at(core, share);
}

static uint32_t list_size(const struct busy *busy) {
    return 1u << busy->shared_class >> 4;
}

static struct share_entry *entry_at(struct core *core, const struct busy *busy, uint32_t number) {
    struct share_entry *list = (void *)buffer_bytes_at(core, busy->shared_list);
    return &list[(busy->shared_first + number) & (list_size(busy) - 1)];
}

static void store_span(struct busy *busy, uint32_t first, uint32_t count) {
    STORES_STAY();
    __atomic_store_n((uint32_t *)(void *)&busy->shared_first, count << 16 | (first & 0xffff), __ATOMIC_RELEASE);
    STORES_STAY();
}

uint32_t share_make(struct core *core, uint32_t length) {
    uint32_t size_class = BUFFER_CLASS_MIN;
    while (size_class <= BUFFER_CLASS_MAX && (1ull << size_class) < (uint64_t)length + SHARE_HEADER)
        size_class++;
    uint32_t buffer = buffer_take(core, size_class);
    if (buffer)
        *share_at(core, buffer) = (struct share){.references = 1, .length = length, .size_class = size_class};
    return buffer;
}

uint8_t *share_bytes(struct core *core, uint32_t share) {
    return buffer_bytes_at(core, share) + SHARE_HEADER;
}

uint32_t share_length(struct core *core, uint32_t share) {
    return share_at(core, share)->length;
}

void share_drop(struct core *core, uint32_t share) {
    struct share *one = share_at(core, share);
    if (--one->references == 0)
        buffer_give(core, share, one->size_class);
}

uint32_t share_left(struct core *core, const struct busy *busy) {
    if (!busy->shared_list)
        return 0;
    const struct share_entry *last = entry_at(core, busy, busy->shared_count - 1u);
    return last->start + last->length - busy->shared_done;
}

/* The move is one intent, as for the streams' buffers. */
static int list_larger(struct core *core, uint32_t index, struct busy *busy) {
    uint32_t size_class = busy->shared_class + 1u;
    uint32_t buffer = size_class <= SHARE_LIST_CLASS_MAX ? buffer_take(core, size_class) : 0;
    if (!buffer)
        return -ENOBUFS;
    struct share_entry *to = (void *)buffer_bytes_at(core, buffer);
    for (uint32_t i = 0; i < busy->shared_count; i++)
        to[i] = *entry_at(core, busy, i);
    uint32_t old = busy->shared_list, old_class = busy->shared_class;
    struct intent_stream *intent = (void *)&core->state->intent;
    intent->block = core->records[index].busy;
    intent->buffer = buffer;
    intent->size_class = size_class;
    intent->start = 0;
    intent->length = busy->shared_count;
    intent_write(core, INTENT_SHARED);
    stream_apply(core);
    intent_clear(core);
    buffer_give(core, old, old_class);
    return 0;
}

static int list_begin(struct core *core, struct busy *busy, struct share_entry entry) {
    uint32_t buffer = buffer_take(core, LIST_CLASS_MIN);
    if (!buffer)
        return -ENOBUFS;
    CRASH_POINT(share_list_taken);
    *(struct share_entry *)(void *)buffer_bytes_at(core, buffer) = entry;
    busy->shared_class = LIST_CLASS_MIN;
    busy->shared_done = 0;
    store_span(busy, 0, 1);
    CRASH_POINT(share_list_filled);
    __atomic_store_n(&busy->shared_list, buffer, __ATOMIC_RELEASE);
    return 0;
}

static int list_add(struct core *core, uint32_t index, struct busy *busy, struct share_entry entry) {
    if (busy->shared_count == list_size(busy) && list_larger(core, index, busy))
        return -ENOBUFS;
    const struct share_entry *last = entry_at(core, busy, busy->shared_count - 1u);
    entry.start = last->start + last->length;
    *entry_at(core, busy, busy->shared_count) = entry;
    CRASH_POINT(share_entered);
    store_span(busy, busy->shared_first, busy->shared_count + 1u);
    return 0;
}

int share_append(struct core *core, uint32_t index, uint32_t share) {
    struct busy *busy = busy_take(core, index);
    if (!busy)
        return -ENOBUFS;
    struct share_entry entry = {share, busy->send_start + busy->send_length, 0, share_length(core, share)};
    int error = busy->shared_list ? list_add(core, index, busy, entry) : list_begin(core, busy, entry);
    CRASH_POINT(share_appended);
    if (error)
        busy_release(core, index);
    else
        share_at(core, share)->references++;
    return error;
}

int share_has(struct core *core, uint32_t index, uint32_t share) {
    const struct busy *busy = busy_of(core, index);
    for (uint32_t i = 0; busy && busy->shared_list && i < busy->shared_count; i++)
        if (entry_at(core, busy, i)->share == share)
            return 1;
    return 0;
}

const uint8_t *share_peek(struct core *core, const struct busy *busy, uint32_t offset, uint32_t *length) {
    uint32_t at = busy->send_start, done = busy->shared_done;
    for (uint32_t i = 0; i < busy->shared_count; i++) {
        const struct share_entry *entry = entry_at(core, busy, i);
        uint32_t own = entry->at - at, left = entry->start + entry->length - done;
        if (offset < own) {
            const uint8_t *bytes = own_peek(core, busy, at - busy->send_start + offset, length);
            *length = *length < own - offset ? *length : own - offset;
            return bytes;
        }
        offset -= own;
        if (offset < left) {
            *length = left - offset;
            return share_bytes(core, entry->share) + entry->length - left + offset;
        }
        offset -= left;
        at = entry->at;
        done = entry->start + entry->length;
    }
    return own_peek(core, busy, at - busy->send_start + offset, length);
}

static void pop(struct core *core, struct busy *busy) {
    uint32_t list = busy->shared_list, share = entry_at(core, busy, 0)->share;
    if (busy->shared_count > 1) {
        store_span(busy, busy->shared_first + 1u, busy->shared_count - 1u);
    } else {
        __atomic_store_n(&busy->shared_list, 0, __ATOMIC_RELEASE);
        CRASH_POINT(share_list_left);
        buffer_give(core, list, busy->shared_class);
    }
    CRASH_POINT(share_popped);
    share_drop(core, share);
}

void share_acknowledge(struct core *core, struct busy *busy, uint32_t length) {
    while (length && busy->shared_list) {
        const struct share_entry *entry = entry_at(core, busy, 0);
        uint32_t own = entry->at - busy->send_start, left = entry->start + entry->length - busy->shared_done;
        uint32_t most = own ? own : left, step = length < most ? length : most;
        length -= step;
        if (own) {
            own_acknowledge(core, busy, step);
            continue;
        }
        STORES_STAY();
        __atomic_store_n(&busy->shared_done, busy->shared_done + step, __ATOMIC_RELEASE);
        CRASH_POINT(share_acknowledged);
        if (step == left)
            pop(core, busy);
    }
    if (length)
        own_acknowledge(core, busy, length);
}

void share_forget(struct core *core, struct busy *busy) {
    uint32_t list = busy->shared_list;
    if (!list)
        return;
    __atomic_store_n(&busy->shared_list, 0, __ATOMIC_RELEASE);
    CRASH_POINT(share_forgotten);
    const struct share_entry *entries = (const void *)buffer_bytes_at(core, list);
    for (uint32_t i = 0; i < busy->shared_count; i++)
        share_drop(core, entries[(busy->shared_first + i) & (list_size(busy) - 1)].share);
    buffer_give(core, list, busy->shared_class);
}

static int lies_within(const struct core *core, uint32_t buffer, uint32_t size_class) {
    return size_class >= BUFFER_CLASS_MIN && size_class <= BUFFER_CLASS_MAX &&
           ((uint64_t)buffer * UNIT) + (1ull << size_class) <= core->state->buffer_fresh;
}

static int is_share(struct core *core, uint32_t share) {
    return share && lies_within(core, share, BUFFER_CLASS_MIN) &&
           lies_within(core, share, share_at(core, share)->size_class) &&
           share_length(core, share) <= (1ull << share_at(core, share)->size_class) - SHARE_HEADER;
}

static int is_list(struct core *core, const struct busy *busy) {
    if (busy->shared_class > SHARE_LIST_CLASS_MAX || !lies_within(core, busy->shared_list, busy->shared_class) ||
        busy->shared_count > list_size(busy))
        return 0;
    for (uint32_t i = 0; i < busy->shared_count; i++)
        if (!is_share(core, entry_at(core, busy, i)->share))
            return 0;
    return 1;
}

void share_recover(struct core *core, struct busy *busy) {
    if (!busy->shared_list)
        return;
    if (!is_list(core, busy))
        busy->shared_count = 0;
    while (busy->shared_count &&
           !(entry_at(core, busy, 0)->start + entry_at(core, busy, 0)->length - busy->shared_done))
        store_span(busy, busy->shared_first + 1u, busy->shared_count - 1u);
    if (!busy->shared_count)
        busy->shared_list = 0;
}

void share_zero(struct core *core, uint32_t share) {
    share_at(core, share)->references = 0;
}

void share_uncount(struct core *core, const struct busy *busy) {
    for (uint32_t i = 0; busy->shared_list && i < busy->shared_count; i++)
        share_zero(core, entry_at(core, busy, i)->share);
}

int share_count_one(struct core *core, uint32_t share) {
    struct share *one = share_at(core, share);
    if (!one->references && buffer_mark(core, share, one->size_class))
        return -1;
    one->references++;
    return 0;
}

void share_count(struct core *core, struct busy *busy) {
    for (uint32_t i = 0; busy->shared_list && i < busy->shared_count; i++)
        if (share_count_one(core, entry_at(core, busy, i)->share))
            busy->shared_list = 0;
}
