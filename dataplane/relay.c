/* The relay's handlers: what a connection's peer does, told to the control plane. Whatever finds the ring full is tried
 * again by the connection's timer; a lost end makes both sides compare. Runs on the owning core. */
#include "relay.h"

#include <errno.h>
#include <string.h>
#include "core.h"
#include "count.h"
#include "handler.h"
#include "lists.h"
#include "relay_inside.h"
#include "stream.h"
#include "timer.h"

_Static_assert(sizeof(struct relay) == RECORD_STATE_BYTES, "it is the record's application state");
_Static_assert(RELAY_PIECE + sizeof(struct relay_head) == RING_MESSAGE_MAX, "a piece fills a message");

struct relay *relay_of(const struct core *core, uint32_t index) {
    return (void *)core->records[index].application;
}

static int put(struct core *core, uint32_t index, enum relay_up what, const void *payload, uint32_t length) {
    struct ring *ring = core->to[CORE_CONTROL];
    struct ring_message message = {
        .type = EVENT_STREAM,
        .length = (uint16_t)length,
        .kind = MESSAGE_EVENT,
        .target = (uint8_t)what,
        .tag = index,
    };
    return ring && ring_put(ring, &message, payload) == 1;
}

int relay_tell(struct core *core, uint32_t index, enum relay_up what, uint32_t at, const uint8_t *data,
               uint32_t length) {
    struct {
        struct relay_head head;
        uint8_t data[RELAY_PIECE];
    } whole;
    whole.head = (struct relay_head){core->records[index].generation, at};
    if (length)
        memcpy(whole.data, data, length);
    return put(core, index, what, &whole, (uint32_t)sizeof whole.head + length);
}

int relay_tell_open(struct core *core, uint32_t index, uint32_t number, uint32_t handed) {
    const struct record *record = &core->records[index];
    struct relay_open open = {
        .generation = record->generation,
        .number = number,
        .remote_address = record->flow.remote_address,
        .local_address = record->flow.local_address,
        .remote_port = record->flow.remote_port,
        .local_port = record->flow.local_port,
        .active = (record->flags & FLAG_ACTIVE) != 0,
        .handed = handed,
    };
    return put(core, index, RELAY_OPEN, &open, sizeof open);
}

void relay_later(struct core *core, uint32_t index) {
    uint32_t deadline = core->tick + 1;
    timer_set(core, index, TIMER_APPLICATION, deadline ? deadline : 1);
}

static uint32_t index_of(const struct call *call) {
    return (uint32_t)(call->record - call->core->records);
}

/* 1 once the control plane knows of the connection. */
static int introduced(struct core *core, uint32_t index) {
    struct relay *relay = relay_of(core, index);
    if (!relay->known)
        relay->known = (uint8_t)relay_tell_open(core, index, relay->number, 0);
    if (!relay->known)
        relay_later(core, index);
    return relay->known;
}

void relay_opened(struct call *call) {
    struct relay *relay = relay_of(call->core, index_of(call));
    relay->allowed = relay->promised = RELAY_WINDOW;
    relay->number = call->actor->number;
    introduced(call->core, index_of(call));
    call->ok = 1;
}

void relay_data(struct call *call) {
    struct core *core = call->core;
    uint32_t index = index_of(call), used = 0;
    struct relay *relay = relay_of(core, index);
    call->ok = 1;
    if (!introduced(core, index))
        return;
    while (used < call->length && relay->taken != relay->allowed) {
        uint32_t piece = relay->allowed - relay->taken, left = (uint32_t)call->length - used;
        piece = piece < left ? piece : left;
        piece = piece < RELAY_PIECE ? piece : RELAY_PIECE;
        if (!relay_tell(core, index, RELAY_DATA, relay->taken, call->data + used, piece)) {
            relay_later(core, index);
            break;
        }
        relay->taken += piece;
        used += piece;
    }
    call->result = used;
}

/* As many as RELAY_WINDOW beyond what the peer has not taken yet, and as buffers can be had for. */
void relay_promise(struct core *core, uint32_t index) {
    struct relay *relay = relay_of(core, index);
    uint32_t queued = stream_queued(core, index), room = stream_room(core, index);
    uint32_t least = relay->promised - relay->accepted;
    uint32_t most = queued < RELAY_WINDOW ? RELAY_WINDOW - queued : 0;
    most = room < most ? room : most;
    if (most > least && (most - least >= RELAY_WINDOW / 4 || !queued)) {
        if (!relay_tell(core, index, RELAY_CREDIT, relay->accepted + most, NULL, 0)) {
            relay_later(core, index);
            return;
        }
        least = most;
        relay->promised = relay->accepted + most;
    }
    if (least > RELAY_WINDOW / 2)
        return;
    if (queued)
        core->records[index].flags |= FLAG_WRITABLE_WANTED;
    else
        relay_later(core, index); /* buffers have run out */
}

void relay_writable(struct call *call) {
    relay_promise(call->core, index_of(call));
    call->ok = 1;
}

static void tell_end(struct core *core, uint32_t index) {
    struct relay *relay = relay_of(core, index);
    if (introduced(core, index))
        relay->ended = (uint8_t)relay_tell(core, index, RELAY_END, relay->taken, NULL, 0);
    if (!relay->ended)
        relay_later(core, index);
    actor_pend(core, index); /* a record that was held may go */
}

void relay_end(struct call *call) {
    tell_end(call->core, index_of(call));
    call->ok = 1;
}

void relay_close(struct call *call) {
    struct core *core = call->core;
    uint32_t index = index_of(call);
    if (relay_of(core, index)->known && !relay_tell(core, index, RELAY_CLOSED, (uint32_t)call->argument, NULL, 0))
        core->relay_resync = 1;
    call->ok = 1;
}

void relay_timer(struct call *call) {
    struct core *core = call->core;
    uint32_t index = index_of(call);
    call->ok = 1;
    if (!introduced(core, index))
        return;
    if (call->record->flags & FLAG_END_TOLD && !relay_of(core, index)->ended)
        tell_end(core, index);
    relay_promise(core, index);
    again_add(core, index); /* the bytes that are kept */
}

void relay_turn(struct core *core) {
    if (core->relay_resync)
        core->relay_resync = !put(core, RECORD_NONE, RELAY_RESYNC, NULL, 0);
}

void relay_adopt(struct core *core) {
    core->relay_resync = core->relay != 0;
}

void relay_failed(struct core *core, uint32_t index, int why) {
    int error = why >= RELAY_ERRNO     ? why - RELAY_ERRNO
                : why == CLOSE_TIMEOUT ? ETIMEDOUT
                : why == CLOSE_RESET   ? ECONNREFUSED
                                       : ECONNABORTED;
    if (!relay_tell(core, index, RELAY_CLOSED, RELAY_ERRNO + (uint32_t)error, NULL, 0))
        core->relay_resync = 1;
}

int relay_listens(const struct core *core, uint32_t index) {
    const struct record *record = &core->records[index];
    return core->listeners[record->listener].actor->relays && relay_of(core, index)->half &&
           (record->flags & (FLAG_OPENED | FLAG_ABORTING)) == FLAG_OPENED;
}

int relay_holds(struct core *core, uint32_t index) {
    return relay_listens(core, index) && !relay_of(core, index)->ended;
}
