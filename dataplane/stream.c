/* The two byte streams of a busy connection: what it sends in a ring, what it received contiguous. Bytes are stored
 * first and counted last, by one store; a change of buffer goes through an intent. Owned by the core. */
#include "stream.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "buffer.h"
#include "core.h"
#include "inline.h"
#include "intent.h"
#include "record.h"
#include "share.h"
#include "stream_own.h"

_Static_assert(offsetof(struct busy, send_start) % 8 == 0, "start and length are stored at once");
_Static_assert(offsetof(struct busy, receive_start) % 8 == 0, "start and length are stored at once");

enum { MOVES_WITHIN = 20000 }; /* milliseconds that all a connection holds may take to move */

static uint32_t class_for(uint32_t bytes) {
    uint32_t size_class = bytes <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(bytes - 1);
    return size_class < BUFFER_CLASS_MIN ? BUFFER_CLASS_MIN : size_class;
}

static void store_span(uint32_t *start, uint32_t from, uint32_t length) {
    STORES_STAY();
    __atomic_store_n((uint64_t *)(void *)start, (uint64_t)length << 32 | from, __ATOMIC_RELEASE);
    STORES_STAY();
}

static void store_length(uint32_t *field, uint32_t length) {
    CRASH_POINT(stream_copied);
    __atomic_store_n(field, length, __ATOMIC_RELEASE);
    STORES_STAY();
}

uint32_t stream_held(const struct busy *busy) {
    uint32_t held = sizeof *busy;
    if (busy->send_buffer)
        held += 1u << busy->send_class;
    if (busy->receive_buffer)
        held += 1u << busy->receive_class;
    return held;
}

/* `bytes` of what the block holds have left or joined it. A second of standing still is made good by moving a twentieth
 * of the memory held: so an ACK alone counts for nothing, and a byte now and then for little (relief.c). */
static void progress(const struct core *core, struct busy *busy, uint32_t bytes) {
    uint32_t age = core->tick - busy->moved;
    if (!age)
        return;
    uint64_t credit = (uint64_t)bytes * MOVES_WITHIN / stream_held(busy);
    busy->moved += credit < age ? (uint32_t)credit : age;
}

int stream_waits(struct core *core, uint32_t index) {
    return core->records[index].flags & (FLAG_PAUSED | FLAG_WRITABLE_WANTED) && !stream_queued(core, index);
}

void stream_waited(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    if (busy)
        busy->moved = core->tick;
}

static uint8_t *send_bytes(struct core *core, const struct busy *busy) {
    return buffer_bytes_at(core, busy->send_buffer);
}

/* send_start counts on for the block's life, modulo 2^32: shared bytes have their place by it. */
static void ring_store(uint8_t *ring, uint32_t size, uint32_t at, const uint8_t *data, uint32_t length) {
    at &= size - 1;
    uint32_t first = length < size - at ? length : size - at;
    memcpy(ring + at, data, first);
    if (first < length)
        memcpy(ring, data + first, length - first);
}

void stream_apply(struct core *core) {
    const struct intent_stream *intent = (const void *)&core->state->intent;
    struct busy *busy = &core->busy[intent->block];
    if (intent->kind == INTENT_SEND) {
        busy->send_class = (uint8_t)intent->size_class;
        CRASH_POINT(stream_classed);
        busy->send_buffer = intent->buffer;
        CRASH_POINT(stream_moved);
        store_span(&busy->send_start, intent->start, intent->length);
    } else if (intent->kind == INTENT_SHARED) {
        busy->shared_class = (uint8_t)intent->size_class;
        CRASH_POINT(stream_classed);
        busy->shared_list = intent->buffer;
        CRASH_POINT(stream_moved);
        busy->shared_first = (uint16_t)intent->start;
        busy->shared_count = (uint16_t)intent->length;
    } else {
        busy->receive_class = (uint8_t)intent->size_class;
        CRASH_POINT(stream_classed);
        busy->receive_buffer = intent->buffer;
        CRASH_POINT(stream_moved);
        store_span(&busy->receive_start, 0, intent->length);
    }
}

static void move_to(struct core *core, uint32_t kind, uint32_t block, uint32_t buffer, uint32_t size_class,
                    uint32_t start, uint32_t length) {
    struct intent_stream *intent = (void *)&core->state->intent;
    intent->block = block;
    intent->buffer = buffer;
    intent->size_class = size_class;
    intent->start = start;
    intent->length = length;
    intent_write(core, kind);
    stream_apply(core);
    intent_clear(core);
}

static int send_larger(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct busy *busy = busy_of(core, index);
    uint32_t queued = busy->send_length, start = busy->send_start;
    uint32_t size_class = class_for(queued + length);
    uint32_t buffer = buffer_take(core, size_class);
    if (!buffer)
        return -ENOBUFS;
    CRASH_POINT(stream_taken);
    uint8_t *to = buffer_bytes_at(core, buffer);
    uint32_t old = busy->send_buffer;
    uint32_t old_class = busy->send_class;
    for (uint32_t copied = 0; copied < queued;) {
        uint32_t part;
        const uint8_t *from = own_peek(core, busy, copied, &part);
        ring_store(to, 1u << size_class, start + copied, from, part);
        copied += part;
    }
    ring_store(to, 1u << size_class, start + queued, data, length);
    move_to(core, INTENT_SEND, core->records[index].busy, buffer, size_class, start, queued + length);
    buffer_give(core, old, old_class);
    return 0;
}

/* Into a buffer of its own, for there is none yet: nothing moves, so it is enough that the length comes last. */
static int send_first(struct core *core, struct busy *busy, const uint8_t *data, uint32_t length) {
    uint32_t size_class = class_for(length);
    uint32_t buffer = buffer_take(core, size_class);
    if (!buffer)
        return -ENOBUFS;
    CRASH_POINT(stream_first_taken);
    ring_store(buffer_bytes_at(core, buffer), 1u << size_class, busy->send_start, data, length);
    busy->send_class = (uint8_t)size_class;
    CRASH_POINT(stream_first_classed);
    STORES_STAY();
    busy->send_buffer = buffer;
    CRASH_POINT(stream_first_named);
    STORES_STAY();
    store_length(&busy->send_length, length);
    return 0;
}

int stream_send(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    if (length == 0)
        return 0;
    struct busy *busy = busy_take(core, index);
    if (!busy)
        return -ENOBUFS;
    if (busy->send_buffer && length <= (1u << busy->send_class) - busy->send_length) {
        uint32_t end = busy->send_start + busy->send_length;
        ring_store(send_bytes(core, busy), 1u << busy->send_class, end, data, length);
        store_length(&busy->send_length, busy->send_length + length);
        return 0;
    }
    int result = length > STREAM_SEND_MOST - busy->send_length ? -ENOBUFS
                 : busy->send_buffer                           ? send_larger(core, index, data, length)
                                                               : send_first(core, busy, data, length);
    if (result)
        busy_release(core, index);
    return result;
}

uint32_t stream_queued(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    return busy ? busy->send_length + share_left(core, busy) : 0;
}

const uint8_t *stream_peek(struct core *core, uint32_t index, uint32_t offset, uint32_t *length) {
    const struct busy *busy = busy_of(core, index);
    *length = 0;
    if (!busy)
        return NULL;
    return busy->shared_list ? share_peek(core, busy, offset, length) : own_peek(core, busy, offset, length);
}

const uint8_t *own_peek(struct core *core, const struct busy *busy, uint32_t offset, uint32_t *length) {
    *length = 0;
    if (offset >= busy->send_length)
        return NULL;
    uint32_t size = 1u << busy->send_class;
    uint32_t at = (busy->send_start + offset) & (size - 1);
    uint32_t left = busy->send_length - offset;
    *length = left < size - at ? left : size - at;
    return send_bytes(core, busy) + at;
}

static void drop_send(struct core *core, struct busy *busy) {
    uint32_t buffer = busy->send_buffer;
    store_span(&busy->send_start, busy->send_start + busy->send_length, 0);
    CRASH_POINT(stream_emptied);
    busy->send_buffer = 0;
    CRASH_POINT(stream_left);
    if (buffer)
        buffer_give(core, buffer, busy->send_class);
}

static void drop_receive(struct core *core, struct busy *busy) {
    uint32_t buffer = busy->receive_buffer;
    store_span(&busy->receive_start, 0, 0);
    CRASH_POINT(stream_emptied);
    busy->receive_buffer = 0;
    CRASH_POINT(stream_left);
    if (buffer)
        buffer_give(core, buffer, busy->receive_class);
}

void stream_acknowledge(struct core *core, uint32_t index, uint32_t length) {
    struct busy *busy = busy_of(core, index);
    if (!busy)
        return;
    progress(core, busy, length);
    if (busy->shared_list)
        share_acknowledge(core, busy, length);
    else
        own_acknowledge(core, busy, length);
}

void own_acknowledge(struct core *core, struct busy *busy, uint32_t length) {
    if (length >= busy->send_length)
        drop_send(core, busy);
    else
        store_span(&busy->send_start, busy->send_start + length, busy->send_length - length);
}

/* When memory for the longest queue isn't at hand. */
static NEVER_INLINE uint32_t room_beside(struct core *core, const struct busy *busy, uint32_t queued) {
    uint32_t size = busy && busy->send_buffer ? 1u << busy->send_class : 0;
    uint32_t size_class = size < STREAM_SEND_MOST ? buffer_largest(core, class_for(STREAM_SEND_MOST)) : 0;
    if (size_class && 1u << size_class > size)
        size = 1u << size_class;
    return size > queued ? size - queued : 0;
}

uint32_t stream_room(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    if (!busy && !busy_left(core))
        return 0;
    uint32_t queued = busy ? busy->send_length : 0;
    if (buffer_ready(core, class_for(STREAM_SEND_MOST)))
        return STREAM_SEND_MOST - queued;
    return room_beside(core, busy, queued);
}

/* Half as much again, so that a connection that keeps a steady amount doesn't move at each arrival. */
static int keep_larger(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct busy *busy = busy_of(core, index);
    uint32_t kept = busy->receive_length;
    uint32_t total = kept + length;
    uint32_t size_class = class_for(total + total / 2);
    uint32_t buffer = buffer_take(core, size_class);
    if (!buffer) {
        size_class = class_for(total);
        buffer = buffer_take(core, size_class);
    }
    if (!buffer)
        return -ENOBUFS;
    CRASH_POINT(stream_taken);
    uint8_t *to = buffer_bytes_at(core, buffer);
    uint32_t old = busy->receive_buffer;
    uint32_t old_class = busy->receive_class;
    if (kept)
        memcpy(to, buffer_bytes_at(core, old) + busy->receive_start, kept);
    memcpy(to + kept, data, length);
    move_to(core, INTENT_RECEIVE, core->records[index].busy, buffer, size_class, 0, total);
    if (old)
        buffer_give(core, old, old_class);
    return 0;
}

int stream_keep(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    if (length == 0)
        return 0;
    struct busy *busy = busy_take(core, index);
    if (!busy)
        return -ENOBUFS;
    uint32_t kept = busy->receive_length;
    uint32_t size = busy->receive_buffer ? 1u << busy->receive_class : 0;
    uint8_t *bytes = buffer_bytes_at(core, busy->receive_buffer);
    if (length > (1u << BUFFER_CLASS_MAX) - kept)
        return -ENOBUFS;
    if (busy->receive_start + kept + length > size && kept + length <= size && kept <= busy->receive_start) {
        memcpy(bytes, bytes + busy->receive_start, kept); /* where nothing is kept: a kill leaves the old place whole */
        CRASH_POINT(stream_shifted);
        store_span(&busy->receive_start, 0, kept);
    }
    if (busy->receive_start + kept + length <= size) {
        memcpy(bytes + busy->receive_start + kept, data, length);
        store_length(&busy->receive_length, kept + length);
        progress(core, busy, length);
        return 0;
    }
    int result = keep_larger(core, index, data, length);
    if (result)
        busy_release(core, index);
    else
        progress(core, busy, length);
    return result;
}

uint32_t stream_keep_room(struct core *core, uint32_t index, uint32_t most) {
    const struct busy *busy = busy_of(core, index);
    if (!busy && !busy_left(core))
        return 0;
    uint32_t kept = busy ? busy->receive_length : 0;
    uint32_t size = busy && busy->receive_buffer ? 1u << busy->receive_class : 0;
    uint32_t start = kept && kept > busy->receive_start ? busy->receive_start : 0;
    uint32_t room = size - start - kept;
    if (room >= most)
        return most;
    uint32_t size_class = class_for(kept + most);
    size_class = buffer_largest(core, size_class < BUFFER_CLASS_MAX ? size_class : BUFFER_CLASS_MAX);
    if (size_class && 1u << size_class > kept + room)
        room = (1u << size_class) - kept;
    return room < most ? room : most;
}

int stream_keeps(const struct core *core, uint32_t most) {
    return busy_left(core) && buffer_ready(core, class_for(most));
}

const uint8_t *stream_kept(struct core *core, uint32_t index, uint32_t *length) {
    const struct busy *busy = busy_of(core, index);
    *length = busy ? busy->receive_length : 0;
    return *length ? buffer_bytes_at(core, busy->receive_buffer) + busy->receive_start : NULL;
}

void stream_consume(struct core *core, uint32_t index, uint32_t length) {
    struct busy *busy = busy_of(core, index);
    if (!busy)
        return;
    progress(core, busy, length);
    if (length >= busy->receive_length)
        drop_receive(core, busy);
    else
        store_span(&busy->receive_start, busy->receive_start + length, busy->receive_length - length);
}

void stream_drop(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    if (!busy)
        return;
    share_forget(core, busy);
    drop_send(core, busy);
    drop_receive(core, busy);
    busy->need = 0;
}
