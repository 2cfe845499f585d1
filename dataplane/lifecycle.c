/* An actor's handlers that belong to no connection: on_start, on_tick, messages; and adoption of connections after a
 * crash. Owned by the core. */
#include <errno.h>

#include "core.h"
#include "count.h"
#include "handler.h"
#include "lists.h"
#include "record.h"

static void run_plain(struct core *core, struct actor *actor, enum handler handler, int64_t argument) {
    if (!actor->reporting[handler])
        return;
    struct call call;
    frame_open(core, &call, actor, RECORD_NONE);
    call.argument = argument;
    handler_run(actor, &call, handler);
    frame_close(&call);
}

void actor_start(struct core *core, int restarted) {
    for (uint32_t i = 0; i < core->listener_count; i++) {
        struct actor *actor = core->listeners[i].actor;
        actor->tick_due = core->tick + actor->tick_period;
        run_plain(core, actor, ON_START, restarted);
    }
}

void actor_tick(struct core *core) {
    for (uint32_t i = 0; i < core->listener_count; i++) {
        struct actor *actor = core->listeners[i].actor;
        if (!actor->tick_period || (int32_t)(core->tick - actor->tick_due) < 0)
            continue;
        actor->tick_due = core->tick + actor->tick_period;
        run_plain(core, actor, ON_TICK, 0);
    }
}

int actor_message(struct core *core, uint32_t listener, uint32_t type, const uint8_t *data, uint32_t length,
                  int64_t sender, uint8_t *reply) {
    struct actor *actor = core->listeners[listener].actor;
    for (uint32_t i = 0; i < actor->message_count; i++) {
        const struct message_handler *message = &actor->messages[i];
        if (message->type != type)
            continue;
        struct call call;
        frame_open(core, &call, actor, RECORD_NONE);
        call.data = data;
        call.length = length;
        call.argument = sender;
        call.reply = reply;
        int ok = handler_message(actor, &call, message);
        frame_close(&call);
        return ok ? (int)message->reply_length : -EFAULT;
    }
    return -ENOMSG;
}

void actor_adopt(struct core *core) {
    uint32_t current = core->state->current;
    core->state->current = RECORD_NONE;
    if (current)
        connection_abort(core, current, CLOSE_WORKER_LOST);
}
