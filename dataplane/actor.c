/* Between a connection's bytes and its actor: deliver, keep, pause, again, end, close; lifecycle handlers and messages.
 * Owned by the core; handlers never nest, what they ask for waits on the pending list. Knows neither TCP nor sockets.
 */
#include <errno.h>
#include <string.h>

#include "buffer.h"
#include "core.h"
#include "count.h"
#include "handler.h"
#include "inline.h"
#include "lists.h"
#include "record.h"
#include "relay.h"
#include "relief.h"
#include "stream.h"
#include "table.h"
#include "timer.h"
#include "topic.h"

enum { WAITING = FLAG_PAUSED | FLAG_AGAIN };
enum { AGAIN_BUDGET = 64 }; /* connections a turn */

static struct actor *actor_of(const struct core *core, uint32_t index) {
    return core->listeners[core->records[index].listener].actor;
}

/* Takes no more bytes: it is closing, unless only its own half has ended. */
static int is_going(const struct core *core, uint32_t index) {
    uint16_t flags = core->records[index].flags;
    if (!(flags & (FLAG_ABORTING | FLAG_CLOSING)))
        return 0;
    return flags & FLAG_ABORTING || !relay_listens(core, index);
}

/* One handler of a connection, in a frame of its own. */
static void run_single(struct core *core, uint32_t index, enum handler handler, int64_t argument) {
    struct actor *actor = actor_of(core, index);
    if (!actor->reporting[handler])
        return;
    struct call call;
    frame_open(core, &call, actor, index);
    call.argument = argument;
    handler_run(actor, &call, handler);
    frame_close(&call);
}

/* What may follow a handler: the overflow of kept bytes, the peer's end once all was offered, a look again next turn
 * when no event of the transport will cause it. */
static NEVER_INLINE void settle_any(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct actor *actor = actor_of(core, index);
    if (is_going(core, index))
        return;
    if ((record->flags & (FLAG_PAUSED | FLAG_WRITABLE_WANTED)) && !(record->flags & FLAG_AGAIN) &&
        stream_queued(core, index) == 0) {
        again_add(core, index);
        if (stream_room(core, index) < actor->reply_reserve)
            relief_want(core);
    }
    if (record->flags & WAITING)
        return;
    uint32_t kept;
    stream_kept(core, index, &kept);
    if (!kept)
        busy_release(core, index);
    if (kept >= actor->max_unconsumed && !actor->relays) {
        count(core, COUNTER_OVERFLOWS, 1);
        connection_abort(core, index, CLOSE_OVERFLOW);
    } else if ((record->flags & (FLAG_FIN_RECEIVED | FLAG_END_TOLD)) == FLAG_FIN_RECEIVED && !(kept && actor->relays)) {
        record->flags |= FLAG_END_TOLD;
        if (actor->reporting[ON_END])
            run_single(core, index, ON_END, 0);
        else
            connection_close(core, index);
    }
}

/* Nearly always there is nothing of that. */
static ALWAYS_INLINE void settle(struct core *core, uint32_t index) {
    const uint16_t wants = FLAG_PAUSED | FLAG_WRITABLE_WANTED | FLAG_AGAIN | FLAG_FIN_RECEIVED;
    const struct busy *busy = busy_of(core, index);
    if (core->records[index].flags & wants || (busy && (busy->receive_length || !busy->send_length)))
        settle_any(core, index);
}

static uint32_t need_of(struct core *core, uint32_t index) {
    const struct busy *busy = busy_of(core, index);
    return busy ? busy->need : 0;
}

static void need_clear(struct core *core, uint32_t index) {
    struct busy *busy = busy_of(core, index);
    if (busy)
        busy->need = 0;
}

/* May on_data run over `length` more bytes now? If not, the flags say what it waits for. */
static ALWAYS_INLINE int may_run(struct actor *actor, struct call *call, uint32_t index, uint32_t calls,
                                 uint32_t length) {
    struct core *core = call->core;
    if (need_of(core, index) > length)
        return 0;
    if (calls >= actor->calls_per_turn) {
        again_add(core, index);
        return 0;
    }
    if (call->out_space - call->out_length >= actor->reply_reserve)
        return 1;
    frame_flush(call);
    if (call->out_space >= actor->reply_reserve)
        return !is_going(core, index);
    count(core, COUNTER_PAUSED, 1);
    call->record->flags |= FLAG_PAUSED;
    return 0;
}

/* Runs on_data while it makes progress; returns the bytes it consumed, all of them if the connection is going. */
static ALWAYS_INLINE uint32_t offer(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct actor *actor = actor_of(core, index);
    if (!actor->reporting[ON_DATA] || is_going(core, index))
        return length;
    struct call call;
    frame_open(core, &call, actor, index);
    uint32_t used = 0;
    for (uint32_t calls = 0; used < length && may_run(actor, &call, index, calls, length - used); calls++) {
        need_clear(core, index);
        call.data = data + used;
        call.length = length - used;
        if (!handler_run(actor, &call, ON_DATA))
            break;
        if (call.result < 0 || call.result > call.length) {
            handler_fault(actor, &call, ON_DATA);
            break;
        }
        used += (uint32_t)call.result;
        if (call.result == 0 || call.handed || is_going(core, index))
            break;
    }
    frame_close(&call);
    return is_going(core, index) ? length : used;
}

static NEVER_INLINE void offer_kept(struct core *core, uint32_t index) {
    uint32_t length;
    const uint8_t *data = stream_kept(core, index, &length);
    if (length) {
        uint32_t used = offer(core, index, data, length);
        if (used)
            stream_consume(core, index, used);
    }
}

static void deliver(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct record *record = &core->records[index];
    uint32_t kept, used = 0;
    stream_kept(core, index, &kept);
    int direct = kept == 0 && !(record->flags & WAITING);
    if (direct)
        used = offer(core, index, data, length);
    if (used < length && stream_keep(core, index, data + used, length - used)) {
        count(core, COUNTER_NO_BUFFER, 1);
        connection_abort(core, index, CLOSE_OVERFLOW);
        return;
    }
    if (!direct && !(record->flags & WAITING))
        offer_kept(core, index);
}

void actor_deliver(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    count(core, COUNTER_RECEIVED_BYTES, length);
    if (is_going(core, index))
        return;
    /* Until the bytes are consumed or kept, and what the handler sent is queued. */
    uint32_t outer = current_set(core, index);
    deliver(core, index, data, length);
    settle(core, index);
    current_set(core, outer);
}

static void resume(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (is_going(core, index))
        return;
    uint32_t outer = current_set(core, index);
    int waited = stream_waits(core, index);
    if (record->flags & FLAG_WRITABLE_WANTED && stream_room(core, index) >= actor_of(core, index)->reply_reserve) {
        record->flags &= (uint16_t)~FLAG_WRITABLE_WANTED;
        run_single(core, index, ON_WRITABLE, 0);
    }
    record->flags &= (uint16_t)~FLAG_PAUSED;
    offer_kept(core, index);
    settle(core, index);
    if (waited && !stream_waits(core, index))
        stream_waited(core, index);
    current_set(core, outer);
}

void actor_resume(struct core *core, uint32_t index) {
    uint16_t flags = core->records[index].flags;
    if ((flags & (FLAG_PAUSED | FLAG_WRITABLE_WANTED)) && !(flags & FLAG_AGAIN))
        resume(core, index);
}

void actor_retry(struct core *core, uint32_t index) {
    if (!(core->records[index].flags & FLAG_AGAIN))
        resume(core, index);
}

uint32_t actor_again(struct core *core) {
    uint32_t todo = core->again.count < AGAIN_BUDGET ? core->again.count : AGAIN_BUDGET;
    for (uint32_t i = 0; i < todo && core->again.count; i++) {
        uint32_t index = again_pop(core);
        if (index)
            resume(core, index);
    }
    return todo;
}

static NEVER_INLINE uint32_t window_beside(struct core *core, uint32_t index) {
    uint32_t most = actor_of(core, index)->max_unconsumed, kept;
    if (is_going(core, index))
        return most;
    stream_kept(core, index, &kept);
    if (kept >= most)
        return 0;
    uint32_t window = stream_keep_room(core, index, most - kept);
    if (!window)
        relief_want(core);
    return window;
}

uint32_t actor_window(struct core *core, uint32_t index) {
    uint32_t most = actor_of(core, index)->max_unconsumed;
    if (!core->records[index].busy && stream_keeps(core, most)) /* nothing is kept yet, and all of it could be */
        return most;
    return window_beside(core, index);
}

void actor_open(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct actor *actor = actor_of(core, index);
    memset(record->application, 0, RECORD_STATE_BYTES);
    if (actor->side_state)
        memset(actor->side_state + (uint64_t)index * actor->state_size, 0, actor->state_size);
    record->close_reason = 0;
    record->opened = core->tick;
    record->flags |= FLAG_OPENED;
    count(core, COUNTER_OPENED, 1);
    run_single(core, index, ON_OPEN, 0);
    settle(core, index);
}

void actor_end(struct core *core, uint32_t index) {
    core->records[index].flags |= FLAG_FIN_RECEIVED;
    settle(core, index);
}

void actor_timer(struct core *core, uint32_t index) {
    if (is_going(core, index))
        return;
    count(core, COUNTER_TIMERS_FIRED, 1);
    run_single(core, index, ON_TIMER, 0);
    settle(core, index);
}

void actor_close(struct core *core, uint32_t index, int reason) {
    struct record *record = &core->records[index];
    struct actor *actor = actor_of(core, index);
    if (!(record->flags & FLAG_OPENED)) {
        if (actor->relays && record->flags & FLAG_ACTIVE)
            relay_failed(core, index, reason);
        return;
    }
    if (record->close_reason)
        reason = record->close_reason - 1;
    if (record->flags & FLAG_AGAIN)
        again_drop(core, index);
    /* From here on nothing can be sent, closed or aborted: the flag goes first. */
    record->flags &= (uint16_t) ~(FLAG_OPENED | FLAG_PAUSED | FLAG_WRITABLE_WANTED);
    timer_clear(core, index, TIMER_APPLICATION); /* it may be due in this very turn */
    count(core, COUNTER_CLOSED, 1);
    topic_forget(core, index);
    if (!actor->reporting[ON_CLOSE])
        return;
    struct call call;
    frame_open(core, &call, actor, index);
    call.argument = reason;
    call.out_space = 0;
    handler_run(actor, &call, ON_CLOSE);
    call.out_length = 0;
    frame_close(&call);
}
