/* The call frame around a handler: what it may see, what it sent, whether it came through.
 * Owned by the core. While a frame is open, core_state names its record, so that a crash costs that connection alone.
 */
#include <errno.h>
#include <string.h>

#include "core.h"
#include "count.h"
#include "handler.h"
#include "inline.h"
#include "measure.h"
#include "record.h"
#include "stream.h"
#include "table.h"

_Static_assert(sizeof(struct call) == 160, "frame_open sets every field");

static int64_t staged(const struct call *call) {
    return call->out + call->out_length - call->core->staging;
}

static void room_measure(struct call *call, uint32_t index) {
    int64_t room = index ? stream_room(call->core, index) : 0;
    call->out = call->core->staging;
    call->out_length = 0;
    call->out_space = room < CORE_STAGING ? room : CORE_STAGING;
}

static uint32_t index_of(const struct call *call) {
    return call->record ? (uint32_t)(call->record - call->core->records) : RECORD_NONE;
}

/* The compiler must move no store across it: adoption resets the connection it names, whose bytes and effects would
 * otherwise be lost or doubled. */
uint32_t current_set(struct core *core, uint32_t index) {
    uint32_t outer = core->state->current;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&core->state->current, index, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return outer;
}

void frame_open(struct core *core, struct call *call, struct actor *actor, uint32_t index) {
    struct record *record = index ? &core->records[index] : NULL;
    /* Each field once: to clear the whole first takes longer than all of these. */
    call->core = core;
    call->record = record;
    call->data = NULL;
    call->length = call->argument = call->result = call->ok = 0;
    call->state = NULL;
    call->core_state = actor->core_state;
    call->config = actor->config;
    call->reply = NULL;
    call->now = core->now;
    call->core_id = core->config.core_id;
    call->handle = 0;
    call->actor = actor;
    call->handed = 0;
    if (record) {
        call->state = actor->side_state ? actor->side_state + (uint64_t)index * actor->state_size : record->application;
        call->handle = record_handle(core, index);
    }
    room_measure(call, index);
    call->outer = current_set(core, index);
}

static void send_staged(struct call *call, uint32_t index) {
    int64_t length = staged(call);
    if (length > 0 && !(call->record->flags & FLAG_ABORTING)) {
        if (stream_send(call->core, index, call->core->staging, (uint32_t)length)) {
            count(call->core, COUNTER_NO_BUFFER, 1);
            connection_abort(call->core, index, CLOSE_FAULT);
        } else {
            count(call->core, COUNTER_SENT_BYTES, (uint64_t)length);
            actor_pend(call->core, index);
        }
    }
}

void frame_flush(struct call *call) {
    uint32_t index = index_of(call);
    send_staged(call, index);
    room_measure(call, index);
}

void frame_close(struct call *call) {
    if (staged(call) > 0)
        send_staged(call, index_of(call));
    if (call->handed)
        relay_take(call);
    current_set(call->core, call->outer);
}

static ALWAYS_INLINE int run(struct actor *actor, struct call *call, uint32_t which, handler_entry reporting,
                             handler_entry quiet) {
    struct core *core = call->core;
    int report = fault_reporting(core, actor) || !quiet;
    if (report)
        fault_prepare(call);
    core->state->current_handler = which;
    /* Each handler finds an empty out; what earlier ones of this frame sent stands before it. */
    call->out += call->out_length;
    call->out_space -= call->out_length;
    call->out_length = 0;
    call->result = 0;
    call->ok = 0;
    int64_t began = measure_begin(core);
    (report ? reporting : quiet)(call);
    count(core, COUNTER_HANDLER_CALLS, 1);
    if (began)
        measure_end(core, began);
    if (call->ok)
        return 1;
    fault_count(actor, call, which, report);
    if (call->record)
        connection_abort(core, index_of(call), CLOSE_FAULT);
    return 0;
}

int handler_run(struct actor *actor, struct call *call, enum handler handler) {
    return run(actor, call, handler, actor->reporting[handler], actor->quiet[handler]);
}

int handler_message(struct actor *actor, struct call *call, const struct message_handler *message) {
    return run(actor, call, HANDLER_COUNT + message->type, message->reporting, message->quiet);
}

void handler_fault(struct actor *actor, struct call *call, enum handler handler) {
    fault_count(actor, call, handler, fault_reporting(call->core, actor));
    if (call->record)
        connection_abort(call->core, index_of(call), CLOSE_FAULT);
}

void connection_abort(struct core *core, uint32_t index, enum close_reason reason) {
    struct record *record = &core->records[index];
    if ((record->flags & FLAG_ABORTING) || !(record->flags & FLAG_OPENED))
        return;
    record->close_reason = (uint8_t)(reason + 1);
    record->flags |= FLAG_ABORTING;
    actor_pend(core, index);
}

void connection_close(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if ((record->flags & (FLAG_CLOSING | FLAG_ABORTING)) || !(record->flags & FLAG_OPENED))
        return;
    record->flags |= FLAG_CLOSING;
    actor_pend(core, index);
}
