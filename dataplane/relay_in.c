/* What the control plane tells the relay: bytes to send, credit, ends, and how far it is after a crash. A message for a
 * record that has gone, or whose bytes don't follow those accepted so far, changes nothing but that connection. Runs on
 * the owning core. */
#include <errno.h>
#include <string.h>

#include "core.h"
#include "count.h"
#include "handler.h"
#include "relay_inside.h"
#include "stream.h"
#include "table.h"
#include "transport.h"

static int is_relayed(const struct core *core, uint32_t index, uint32_t generation) {
    const struct record *record = &core->records[index];
    return index && index < core->state->record_fresh && record->state != STATE_CLOSED &&
           record->generation == generation && core->listeners[record->listener].actor->relays;
}

static int is_open(const struct core *core, uint32_t index) {
    return (core->records[index].flags & (FLAG_OPENED | FLAG_ABORTING)) == FLAG_OPENED;
}

/* A crash resets the connection that is being worked on: `accepted` and the stream move together or not at all. */
static void write_bytes(struct core *core, uint32_t index, const uint8_t *data, uint32_t length) {
    struct relay *relay = relay_of(core, index);
    struct record *record = &core->records[index];
    if (record->flags & FLAG_CLOSING)
        return;
    uint32_t outer = current_set(core, index);
    if (stream_send(core, index, data, length)) {
        count(core, COUNTER_NO_BUFFER, 1);
        connection_abort(core, index, CLOSE_OVERFLOW);
    } else {
        relay->accepted += length;
        count(core, COUNTER_SENT_BYTES, length);
        actor_pend(core, index);
        if (relay->promised - relay->accepted <= RELAY_WINDOW / 2)
            record->flags |= FLAG_WRITABLE_WANTED;
    }
    current_set(core, outer);
}

static void finish(struct core *core, uint32_t index) {
    if (!(core->records[index].flags & FLAG_CLOSING))
        relay_of(core, index)->half = 1;
    connection_close(core, index);
}

static void close_both(struct core *core, uint32_t index) {
    relay_of(core, index)->half = 0;
    connection_close(core, index);
    actor_pend(core, index); /* half closed before, or held */
}

static void grant(struct core *core, uint32_t index, uint32_t limit) {
    struct relay *relay = relay_of(core, index);
    if ((int32_t)(limit - relay->allowed) <= 0)
        return;
    relay->allowed = limit;
    actor_retry(core, index);
    actor_pend(core, index); /* the window */
}

static void compare(struct core *core, uint32_t index, const struct relay_sync *sync) {
    if (sync->ending == RELAY_HAS_ABORTED) {
        connection_abort(core, index, CLOSE_ABORTED);
    } else if (sync->at != relay_of(core, index)->accepted) {
        connection_abort(core, index, CLOSE_WORKER_LOST);
    } else {
        if (sync->ending == RELAY_HAS_CLOSED)
            close_both(core, index);
        else if (sync->ending == RELAY_FINISHED)
            finish(core, index);
        grant(core, index, sync->granted);
    }
}

static void obey(struct core *core, uint32_t index, uint32_t what, const struct relay_head *head, uint32_t length) {
    if (what == RELAY_ABORT) {
        connection_abort(core, index, CLOSE_ABORTED);
    } else if (what == RELAY_GRANT) {
        grant(core, index, head->at);
    } else if (head->at != relay_of(core, index)->accepted) {
        connection_abort(core, index, CLOSE_WORKER_LOST); /* what stood before it went down with a worker */
    } else if (what == RELAY_WRITE) {
        write_bytes(core, index, (const uint8_t *)(head + 1), length);
    } else if (what == RELAY_FINISH) {
        finish(core, index);
    } else if (what == RELAY_CLOSE) {
        close_both(core, index);
    }
}

static int answer(struct ring_message *message, uint8_t *reply, uint32_t what, uint32_t index, struct relay_head head) {
    message->target = (uint8_t)what;
    message->tag = index;
    message->length = sizeof head;
    memcpy(reply, &head, sizeof head);
    return 1;
}

static int connect_to(struct core *core, struct ring_message *message, const struct relay_connect *connect,
                      uint8_t *reply) {
    int can = core->transport->connect && core->relay && core->state->run == CORE_RUNNING;
    int64_t made = -EOPNOTSUPP;
    if (can)
        made = core->transport->connect(core, core->relay - 1, connect->address, connect->port, connect->next_hop);
    uint32_t index = made < 0 ? RECORD_NONE : (uint32_t)made;
    uint32_t generation = made < 0 ? (uint32_t)-made : core->records[index].generation;
    return answer(message, reply, RELAY_CONNECTING, index, (struct relay_head){generation, connect->cookie});
}

int relay_message(struct core *core, struct ring_message *message, const uint8_t *payload, uint8_t *reply) {
    const struct relay_head *head = (const void *)payload;
    uint32_t index = message->tag, what = message->target;
    if (what == RELAY_CONNECT)
        return message->length == sizeof(struct relay_connect) &&
               connect_to(core, message, (const void *)payload, reply);
    if (message->length < sizeof *head)
        return 0;
    if (!is_relayed(core, index, head->generation)) {
        count(core, COUNTER_STREAM_STALE, 1);
        return what == RELAY_SYNC && answer(message, reply, RELAY_GONE, index, *head);
    }
    if (!is_open(core, index)) { /* it ends, or begins: SYN-SENT */
        int gives_up = what == RELAY_SYNC ? ((const struct relay_sync *)payload)->ending >= RELAY_HAS_CLOSED
                                          : what == RELAY_ABORT || what == RELAY_CLOSE;
        if (gives_up && core->records[index].state == STATE_SYN_SENT) {
            core->records[index].flags |= FLAG_ABORTING;
            actor_pend(core, index);
        }
    } else if (what != RELAY_SYNC) {
        obey(core, index, what, head, message->length - (uint32_t)sizeof *head);
    } else if (message->length == sizeof(struct relay_sync)) {
        compare(core, index, (const void *)payload);
    }
    return 0;
}
