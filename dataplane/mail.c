/* Messages from the rings to the actors' @on handlers, and the replies to ASKs. Owned by the core.
 * A message leaves its ring before its handler runs: one that kills the worker is not met again. */
#include <errno.h>

#include "core.h"
#include "count.h"
#include "handover.h"
#include "mail.h"
#include "push.h"
#include "relay.h"

enum { MAIL_BUDGET = 32, EVERY_LISTENER = 255 }; /* messages a peer a turn */

static void reply_send(struct core *core, uint32_t peer) {
    struct parked_reply *reply = &core->parked[peer];
    reply->waiting = core->to[peer] && ring_put(core->to[peer], &reply->message, reply->payload) == 0;
}

static void dispatch(struct core *core, uint32_t peer, const struct ring_message *message, const uint8_t *payload) {
    struct parked_reply *reply = &core->parked[peer];
    uint32_t first = message->target, last = message->target;
    int result = -ENOMSG, known = message->kind == MESSAGE_TELL || message->kind == MESSAGE_ASK;
    if (message->target == EVERY_LISTENER) {
        first = 0;
        last = core->listener_count - 1;
    }
    for (uint32_t listener = first; known && listener <= last && listener < core->listener_count; listener++) {
        int one = actor_message(core, listener, message->type, payload, message->length, peer, reply->payload);
        if (one != -ENOMSG)
            result = one;
        if (one != -ENOMSG && message->kind == MESSAGE_ASK)
            break;
    }
    if (result == -ENOMSG)
        count(core, COUNTER_MESSAGES_UNKNOWN, 1);
    if (message->kind != MESSAGE_ASK)
        return;
    reply->message = *message;
    reply->message.kind = MESSAGE_REPLY;
    reply->message.type = result < 0 ? 0 : message->type;
    reply->message.length = (uint16_t)(result < 0 ? 0 : result);
    reply_send(core, peer);
}

static void stream(struct core *core, uint32_t peer, const struct ring_message *message, const uint8_t *payload) {
    struct parked_reply *reply = &core->parked[peer];
    reply->message = *message;
    if (relay_message(core, &reply->message, payload, reply->payload))
        reply_send(core, peer);
}

static uint32_t drain(struct core *core, uint32_t peer) {
    _Alignas(64) uint8_t payload[RING_MESSAGE_MAX];
    struct ring_message message;
    uint32_t taken = 0;
    if (core->parked[peer].waiting)
        reply_send(core, peer);
    while (taken < MAIL_BUDGET && !core->parked[peer].waiting && ring_get(core->from[peer], &message, payload) == 1) {
        if (peer == CORE_CONTROL && message.kind == MESSAGE_EVENT && message.type == EVENT_PUSH &&
            !push_receive(core, payload, message.length)) {
            ring_adopt_consumer(core->from[peer]); /* as if it had not been got */
            break;
        }
        ring_advance(core->from[peer]);
        taken++;
        if (message.kind == MESSAGE_EVENT && message.type == EVENT_FRAME)
            handover_receive(core, payload, message.length, message.target);
        else if (message.kind == MESSAGE_EVENT && message.type == EVENT_STREAM)
            stream(core, peer, &message, payload);
        else if (message.kind != MESSAGE_EVENT || message.type != EVENT_PUSH)
            dispatch(core, peer, &message, payload);
    }
    if (taken)
        count(core, COUNTER_MESSAGES_IN, taken);
    return taken;
}

uint32_t mail_poll(struct core *core) {
    uint32_t taken = 0;
    for (uint64_t peers = core->from_cores; peers; peers &= peers - 1)
        taken += drain(core, (uint32_t)__builtin_ctzll(peers));
    if (core->from[CORE_CONTROL])
        taken += drain(core, CORE_CONTROL);
    return taken;
}
