/* A peer's actor and what its owner calls between turns. Owned by the thread that polls the core. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "core.h"
#include "lists.h"
#include "record.h"
#include "stream.h"
#include "tcp.h"

struct peer {
    struct core *core;
    struct peer_connection *connections;
    uint8_t *bytes; /* room for each connection */
    int *number_of; /* by record index, -1 = none */
    int *accepted;  /* ring of numbers opened by others */
    uint32_t accepted_next, accepted_count;
    uint32_t count, room;
    uint32_t listener;
    int answer_end;
};

static struct peer *peer_of(const struct call *call) {
    return (struct peer *)(uintptr_t)call->config;
}

static uint32_t index_of(const struct call *call) {
    return (uint32_t)(call->record - call->core->records);
}

static struct peer_connection *connection_of(const struct call *call) {
    struct peer *peer = peer_of(call);
    int number = peer->number_of[index_of(call)];
    return number < 0 ? NULL : &peer->connections[number];
}

static int take_number(struct peer *peer, uint32_t index) {
    for (uint32_t i = 0; i < peer->count; i++) {
        if (!peer->connections[i].used) {
            peer->connections[i] = (struct peer_connection){.used = 1, .index = index};
            peer->number_of[index] = (int)i;
            return (int)i;
        }
    }
    return -ENOBUFS;
}

static void on_open(struct call *call) {
    struct peer *peer = peer_of(call);
    if (!(call->record->flags & FLAG_ACTIVE)) {
        int number = take_number(peer, index_of(call));
        if (number < 0) {
            call_abort(call, call->record);
        } else {
            peer->accepted[(peer->accepted_next + peer->accepted_count++) % peer->count] = number;
        }
    }
    struct peer_connection *connection = connection_of(call);
    if (connection) {
        connection->opened = 1;
    }
    call->ok = 1;
}

/* Flagged as listed for the next turn but not listed: bytes are kept and the window closes until peer_receive. */
static void hold(struct record *record) {
    record->flags |= FLAG_AGAIN;
}

static void let_go(struct core *core, uint32_t index) {
    if (core->records[index].flags & FLAG_AGAIN) {
        again_drop(core, index);
    }
    again_add(core, index);
}

static void on_data(struct call *call) {
    struct peer *peer = peer_of(call);
    struct peer_connection *connection = connection_of(call);
    call->ok = 1;
    if (!connection) {
        call->result = call->length;
        return;
    }
    int64_t room = peer->room - connection->length;
    int64_t taken = call->length < room ? call->length : room;
    uint8_t *bytes = peer->bytes + (size_t)(connection - peer->connections) * peer->room;
    memcpy(bytes + connection->length, call->data, (size_t)taken);
    connection->length += (uint32_t)taken;
    call->result = taken;
    if (taken < call->length) {
        hold(call->record);
    }
}

static void on_end(struct call *call) {
    struct peer_connection *connection = connection_of(call);
    if (connection) {
        connection->ended = 1;
    }
    if (peer_of(call)->answer_end) {
        call_close(call, call->record);
    }
    call->ok = 1;
}

static void on_close(struct call *call) {
    struct peer_connection *connection = connection_of(call);
    if (connection) {
        connection->closed = 1;
        connection->reason = (uint8_t)call->argument;
        connection->index = RECORD_NONE;
        peer_of(call)->number_of[index_of(call)] = -1;
    }
    call->ok = 1;
}

static int set_up(struct peer *peer, uint16_t port) {
    struct core *core = peer->core;
    peer->connections = calloc(peer->count, sizeof *peer->connections);
    peer->accepted = calloc(peer->count, sizeof *peer->accepted);
    peer->bytes = calloc(peer->count, peer->room);
    peer->number_of = malloc((core->capacity + 1ul) * sizeof *peer->number_of);
    if (!peer->connections || !peer->accepted || !peer->bytes || !peer->number_of) {
        return -ENOMEM;
    }
    memset(peer->number_of, 0xff, (core->capacity + 1ul) * sizeof *peer->number_of);
    peer->listener = core->listener_count;
    struct actor *actor = core_listen(core, port, -1);
    if (!actor) {
        return -ENOSPC;
    }
    static const struct {
        enum handler handler;
        handler_entry entry;
    } entries[] = {{ON_OPEN, on_open}, {ON_DATA, on_data}, {ON_END, on_end}, {ON_CLOSE, on_close}};
    for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++) {
        actor->reporting[entries[i].handler] = actor->quiet[entries[i].handler] = entries[i].entry;
    }
    actor->config = (const uint8_t *)peer;
    actor->max_unconsumed = peer->room;
    actor->calls_per_turn = 64;
    return 0;
}

struct peer *peer_open(struct core *core, uint16_t port, uint32_t connections, uint32_t room, int answer_end) {
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        return NULL;
    }
    peer->core = core;
    peer->count = connections;
    peer->room = room;
    peer->answer_end = answer_end;
    if (set_up(peer, port)) {
        peer_free(peer);
        return NULL;
    }
    return peer;
}

void peer_free(struct peer *peer) {
    free(peer->connections);
    free(peer->accepted);
    free(peer->bytes);
    free(peer->number_of);
    free(peer);
}

int peer_connect(struct peer *peer, uint32_t remote_address, uint16_t remote_port, uint16_t local_port,
                 const uint8_t *next_hop) {
    uint32_t index = tcp_connect(peer->core, peer->listener, remote_address, remote_port, local_port, next_hop);
    if (!index) {
        return -ENOBUFS;
    }
    int stale = peer->number_of[index]; /* it never opened, so nobody told us of its end */
    if (stale >= 0) {
        peer->connections[stale].closed = 1;
        peer->connections[stale].reason = CLOSE_TIMEOUT;
        peer->connections[stale].index = RECORD_NONE;
    }
    int number = take_number(peer, index);
    if (number < 0) {
        peer->number_of[index] = -1;
        peer->core->records[index].flags |= FLAG_ABORTING;
        actor_pend(peer->core, index);
    }
    return number;
}

int peer_accept(struct peer *peer) {
    if (!peer->accepted_count) {
        return -EAGAIN;
    }
    int number = peer->accepted[peer->accepted_next];
    peer->accepted_next = (peer->accepted_next + 1) % peer->count;
    peer->accepted_count--;
    return number;
}

/* An active open that failed has no on_close: its record is simply gone. */
struct peer_connection *peer_at(struct peer *peer, int number) {
    struct peer_connection *connection = &peer->connections[number];
    if (connection->index && peer->core->records[connection->index].state == STATE_CLOSED && !connection->opened) {
        peer->number_of[connection->index] = -1;
        connection->index = RECORD_NONE;
        connection->closed = 1;
        connection->reason = CLOSE_TIMEOUT;
    }
    return connection;
}

static int going(const struct peer *peer, const struct peer_connection *connection) {
    return !connection->index || peer->core->records[connection->index].flags & (FLAG_CLOSING | FLAG_ABORTING);
}

int64_t peer_send(struct peer *peer, int number, const uint8_t *data, uint32_t length) {
    struct peer_connection *connection = peer_at(peer, number);
    if (going(peer, connection) || !connection->opened) {
        return -ENOTCONN;
    }
    uint32_t room = stream_room(peer->core, connection->index);
    length = length < room ? length : room;
    if (!length || stream_send(peer->core, connection->index, data, length)) {
        return 0;
    }
    actor_pend(peer->core, connection->index);
    return length;
}

int64_t peer_receive(struct peer *peer, int number, uint8_t *into, uint32_t most) {
    struct peer_connection *connection = peer_at(peer, number);
    uint8_t *bytes = peer->bytes + (size_t)number * peer->room;
    uint32_t length = most < connection->length ? most : connection->length;
    memcpy(into, bytes, length);
    connection->length -= length;
    memmove(bytes, bytes + length, connection->length);
    if (length && !going(peer, connection)) {
        let_go(peer->core, connection->index); /* there may be more where that came from */
        actor_pend(peer->core, connection->index);
    }
    return length;
}

void peer_close(struct peer *peer, int number) {
    struct peer_connection *connection = peer_at(peer, number);
    if (!going(peer, connection)) {
        peer->core->records[connection->index].flags |= FLAG_CLOSING;
        actor_pend(peer->core, connection->index);
    }
}

void peer_abort(struct peer *peer, int number) {
    struct peer_connection *connection = peer_at(peer, number);
    if (connection->index) {
        struct record *record = &peer->core->records[connection->index];
        record->flags |= FLAG_ABORTING;
        record->close_reason = CLOSE_ABORTED + 1;
        actor_pend(peer->core, connection->index);
    }
}

void peer_forget(struct peer *peer, int number) {
    struct peer_connection *connection = peer_at(peer, number);
    if (connection->index) {
        peer->number_of[connection->index] = -1;
    }
    connection->used = 0;
}
