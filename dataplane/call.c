/* What handlers call: send, close, timers, tell. Runs inside a handler, on the owning core; writes queue work and never
 * run another handler. A record that is closed, or whose on_close runs, takes nothing any more. */
#define _GNU_SOURCE
#include <string.h>

#include "buffer.h"
#include "core.h"
#include "count.h"
#include "handler.h"
#include "record.h"
#include "stream.h"
#include "table.h"
#include "timer.h"
#include "topic.h"

static uint32_t index_of(const struct call *call, const struct record *record) {
    return (uint32_t)(record - call->core->records);
}

static int is_open(const struct record *record) {
    return record && (record->flags & (FLAG_OPENED | FLAG_CLOSING | FLAG_ABORTING)) == FLAG_OPENED;
}

struct record *call_connection(struct call *call, int64_t handle) {
    uint32_t index = record_of_handle(call->core, handle);
    if (index == RECORD_NONE || !(call->core->records[index].flags & FLAG_OPENED))
        return NULL;
    struct record *record = &call->core->records[index];
    return call->core->listeners[record->listener].actor == call->actor ? record : NULL;
}

uint8_t *call_state(struct call *call, struct record *record) {
    const struct actor *actor = call->core->listeners[record->listener].actor;
    if (!actor->side_state)
        return record->application;
    return actor->side_state + (uint64_t)index_of(call, record) * actor->state_size;
}

int64_t call_handle(struct call *call, struct record *record) {
    return record_handle(call->core, index_of(call, record));
}

int64_t call_room(struct call *call, struct record *record) {
    if (!is_open(record) || (record == call->record && call->handed))
        return 0;
    int64_t room = stream_room(call->core, index_of(call, record));
    if (record == call->record)
        room -= call->out + call->out_length - call->core->staging;
    return room;
}

int64_t call_send(struct call *call, struct record *record, const uint8_t *data, int64_t length) {
    if (length < 0 || !is_open(record) || (record == call->record && call->handed))
        return 0;
    uint32_t index = index_of(call, record);
    if (record == call->record) {
        if (length > call->out_space - call->out_length && call_room(call, record) >= length)
            frame_flush(call);
        if (length <= call->out_space - call->out_length) {
            memcpy(call->out + call->out_length, data, (size_t)length);
            call->out_length += length;
            return 1;
        }
        if (call_room(call, record) < length)
            return 0;
    }
    if (length > UINT32_MAX || stream_send(call->core, index, data, (uint32_t)length))
        return 0;
    count(call->core, COUNTER_SENT_BYTES, (uint64_t)length);
    actor_pend(call->core, index);
    if (record == call->record)
        frame_flush(call);
    return 1;
}

void call_want_writable(struct call *call, struct record *record) {
    (void)call;
    if (is_open(record))
        record->flags |= FLAG_WRITABLE_WANTED;
}

void call_need(struct call *call, int64_t bytes) {
    if (!call->record || bytes < 0)
        return;
    struct busy *busy = busy_take(call->core, index_of(call, call->record));
    if (busy)
        busy->need = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

int64_t call_subscribe(struct call *call, struct record *record, int64_t topic) {
    return is_open(record) && topic_subscribe(call->core, index_of(call, record), (uint64_t)topic);
}

int64_t call_unsubscribe(struct call *call, struct record *record, int64_t topic) {
    return record && topic_unsubscribe(call->core, index_of(call, record), (uint64_t)topic);
}

/* Compiled handlers copy into out without asking: once the connection is going, there must be no space in it. */
static void out_shut(struct call *call, const struct record *record) {
    if (record == call->record)
        call->out_space = call->out_length;
}

void call_close(struct call *call, struct record *record) {
    out_shut(call, record);
    connection_close(call->core, index_of(call, record));
}

void call_abort(struct call *call, struct record *record) {
    out_shut(call, record);
    connection_abort(call->core, index_of(call, record), CLOSE_ABORTED);
}

void call_set_timer(struct call *call, struct record *record, int64_t milliseconds) {
    if (!is_open(record))
        return;
    if (milliseconds < 1)
        milliseconds = 1;
    if (milliseconds > INT32_MAX)
        milliseconds = INT32_MAX;
    uint32_t deadline = call->core->tick + (uint32_t)milliseconds;
    timer_set(call->core, index_of(call, record), TIMER_APPLICATION, deadline ? deadline : 1);
}

void call_cancel_timer(struct call *call, struct record *record) {
    if (is_open(record))
        timer_clear(call->core, index_of(call, record), TIMER_APPLICATION);
}

/* So that what the control actor answers reaches this actor and no other listener of the core. */
static uint32_t listener_of(const struct core *core, const struct actor *actor) {
    uint32_t listener = 0;
    while (listener < core->listener_count && core->listeners[listener].actor != actor)
        listener++;
    return listener;
}

static int is_closed(const struct ring *ring) {
    return ring && __atomic_load_n(&ring->closed, __ATOMIC_RELAXED);
}

/* Whoever saw room that the control plane made after it had set the bit sees the bit too: ring_free's acquire pairs
 * with the release in ring_advance. So after that one tell at most goes in besides what the ring held. */
static int is_full(const struct ring *ring, uint8_t target) {
    return (int)(__atomic_load_n(&ring->full[target >> 6], __ATOMIC_RELAXED) >> (target & 63) & 1);
}

/* target, tag: as in struct ring_message. */
static int64_t tell(struct core *core, uint32_t peer, struct ring_message message, const uint8_t *data,
                    int64_t length) {
    message.length = (uint16_t)length;
    message.kind = MESSAGE_TELL;
    if (peer < CORE_PEERS && is_closed(core->to[peer])) {
        count(core, COUNTER_TELLS_QUARANTINED, 1);
        return 0;
    }
    int told = length >= 0 && length <= RING_MESSAGE_MAX && peer < CORE_PEERS && core->to[peer] &&
               !is_full(core->to[peer], message.target) && ring_put(core->to[peer], &message, data) == 1;
    count(core, told ? COUNTER_TOLD : COUNTER_MAILBOX_FULL, 1);
    return told;
}

int64_t call_tell(struct call *call, int64_t type, int64_t target, const uint8_t *data, int64_t length) {
    struct ring_message message = {.type = (uint16_t)type, .target = 255};
    uint32_t peer = CORE_CONTROL;
    if (target >= 1 << RECORD_INDEX_BITS)
        peer = (uint32_t)(target >> (RECORD_GENERATION_BITS + RECORD_INDEX_BITS));
    else if (target != -1)
        peer = target >= 0 && target < CORE_PEERS ? (uint32_t)target : CORE_PEERS;
    if (peer == CORE_CONTROL) {
        message.target = (uint8_t)call->actor->reports_to;
        message.tag = listener_of(call->core, call->actor) + 1;
    }
    return tell(call->core, peer, message, data, length);
}

int64_t call_tell_cores(struct call *call, int64_t type, uint64_t cores, const uint8_t *data, int64_t length) {
    struct ring_message message = {.type = (uint16_t)type, .target = 255};
    int64_t told = 1;
    for (; cores; cores &= cores - 1)
        told &= tell(call->core, (uint32_t)__builtin_ctzll(cores), message, data, length);
    return told;
}

int64_t view_find(const uint8_t *data, int64_t length, const uint8_t *what, int64_t what_length, int64_t start) {
    if (start < 0)
        start = start + length < 0 ? 0 : start + length;
    if (start > length)
        return -1;
    const uint8_t *found = memmem(data + start, (size_t)(length - start), what, (size_t)what_length);
    return found ? found - data : -1;
}
