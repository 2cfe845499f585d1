/* The bench transport: peers in ordinary memory, no clock, no frames. For tests only, so it may allocate.
 * Runs on the thread that owns the core. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "actor.h"
#include "bench.h"
#include "buffer.h"
#include "core.h"
#include "record.h"
#include "relay.h"
#include "stream.h"
#include "table.h"
#include "timer.h"
#include "transport.h"

struct segment {
    struct segment *next;
    uint32_t start, length; /* bytes */
    uint8_t data[];
};

struct peer {
    struct segment *first, *last; /* on their way to the actor */
    uint8_t *received;            /* what the actor sent */
    int64_t received_length, received_room;
    int64_t window;
    uint32_t index; /* its record, 0 = freed */
    uint8_t agree, ending, resetting, state;
    int8_t reason; /* enum close_reason, -1 = still open */
};

struct bench {
    struct peer *peers;
    int64_t count, room;
    int64_t *peer_of; /* by record index */
};

static struct bench *bench_of(const struct core *core) {
    return core->transport_private;
}

static struct peer *peer_at(const struct core *core, int64_t peer) {
    struct bench *bench = bench_of(core);
    return peer >= 0 && peer < bench->count ? &bench->peers[peer] : NULL;
}

static void segments_drop(struct peer *peer) {
    while (peer->first) {
        struct segment *segment = peer->first;
        peer->first = segment->next;
        free(segment);
    }
    peer->last = NULL;
}

/* The record goes at the end of the turn; nothing names it any more. */
static void finish(struct core *core, uint32_t index, int reason, int state) {
    struct peer *peer = &bench_of(core)->peers[bench_of(core)->peer_of[index]];
    uint8_t first = core->records[index].close_reason;
    peer->reason = (int8_t)(first ? first - 1 : reason);
    actor_close(core, index, reason);
    segments_drop(peer);
    peer->state = (uint8_t)state;
    core->records[index].state = STATE_CLOSED;
    actor_pend(core, index);
}

/* Returns how much it did: bytes that the actor's window keeps out are no work. */
static uint32_t deliver(struct core *core, struct peer *peer) {
    struct record *record = &core->records[peer->index];
    uint32_t work = 0;
    while (peer->first && record->state != STATE_CLOSED) {
        struct segment *segment = peer->first;
        uint32_t room = actor_window(core, peer->index);
        uint32_t length = segment->length < room ? segment->length : room;
        if (!length)
            return work;
        work++;
        record->last_activity = core->tick;
        actor_deliver(core, peer->index, segment->data + segment->start, length);
        segment->start += length;
        segment->length -= length;
        if (segment->length)
            continue;
        peer->first = segment->next;
        if (!peer->first)
            peer->last = NULL;
        free(segment);
    }
    if (peer->ending && !peer->first && !(record->flags & FLAG_FIN_RECEIVED)) {
        actor_end(core, peer->index);
        actor_pend(core, peer->index);
        work++;
    }
    return work;
}

static uint32_t poll(struct core *core) {
    struct bench *bench = bench_of(core);
    uint32_t work = 0;
    for (int64_t i = 0; i < bench->count; i++) {
        struct peer *peer = &bench->peers[i];
        if (!peer->index || core->records[peer->index].state == STATE_CLOSED)
            continue;
        uint16_t flags = core->records[peer->index].flags;
        if (peer->resetting) {
            finish(core, peer->index, CLOSE_RESET, BENCH_GONE);
            work++;
        } else if (peer->first || (peer->ending && !(flags & FLAG_FIN_RECEIVED))) {
            work += deliver(core, peer);
        }
    }
    return work;
}

static int peer_takes(struct peer *peer, const uint8_t *data, uint32_t length) {
    if (peer->received_length + length > peer->received_room) {
        int64_t room = (peer->received_length + length) * 2;
        uint8_t *larger = realloc(peer->received, (size_t)room);
        if (!larger)
            return -ENOMEM;
        peer->received = larger;
        peer->received_room = room;
    }
    memcpy(peer->received + peer->received_length, data, length);
    peer->received_length += length;
    if (peer->window >= 0)
        peer->window -= length;
    return 0;
}

static void transmit(struct core *core, uint32_t index, struct peer *peer) {
    uint32_t sent = 0;
    while (stream_queued(core, index) && peer->window) {
        uint32_t length;
        const uint8_t *data = stream_peek(core, index, 0, &length);
        if (peer->window >= 0 && length > peer->window)
            length = (uint32_t)peer->window;
        if (peer_takes(peer, data, length))
            return;
        stream_acknowledge(core, index, length);
        sent += length;
    }
    busy_release(core, index);
    if (!sent)
        return;
    core->records[index].last_activity = core->tick;
    actor_resume(core, index);
}

static void output(struct core *core, uint32_t index) {
    struct bench *bench = bench_of(core);
    struct record *record = &core->records[index];
    struct peer *peer = &bench->peers[bench->peer_of[index]];
    if (record->state == STATE_CLOSED) {
        peer->index = 0;
        stream_drop(core, index);
        record_free(core, index);
        return;
    }
    if (record->flags & FLAG_ABORTING) {
        finish(core, index, CLOSE_ABORTED, BENCH_RESET);
        return;
    }
    transmit(core, index, peer);
    if (!(record->flags & FLAG_CLOSING) || stream_queued(core, index))
        return;
    if (!(record->flags & FLAG_FIN_SENT)) {
        record->flags |= FLAG_FIN_SENT;
        record->state = record->flags & FLAG_FIN_RECEIVED ? STATE_LAST_ACK : STATE_FIN_WAIT_2;
        peer->state = BENCH_ENDED;
    }
    peer->ending |= peer->agree && !relay_listens(core, index);
    if (record->flags & FLAG_FIN_RECEIVED && !relay_holds(core, index))
        finish(core, index, record->state == STATE_LAST_ACK ? CLOSE_PEER : CLOSE_LOCAL, BENCH_ENDED);
}

static void timer(struct core *core, uint32_t index) {
    (void)core;
    (void)index;
}

static void idle(struct core *core, int64_t nanoseconds) {
    (void)core;
    (void)nanoseconds;
}

static int adopt(struct core *core) {
    (void)core;
    return 0;
}

static uint32_t drain(struct core *core, int past_deadline) {
    struct bench *bench = bench_of(core);
    uint32_t left = 0;
    for (int64_t i = 0; i < bench->count; i++) {
        if (!bench->peers[i].index)
            continue;
        left++;
        if (past_deadline && core->records[bench->peers[i].index].state != STATE_CLOSED)
            finish(core, bench->peers[i].index, CLOSE_SHUTDOWN, BENCH_RESET);
    }
    return left;
}

static const struct transport bench_transport = {
    .name = "bench",
    .output = output,
    .timer = timer,
    .poll = poll,
    .idle = idle,
    .adopt = adopt,
    .drain = drain,
};

int bench_attach(struct core *core) {
    struct bench *bench = calloc(1, sizeof *bench);
    if (!bench)
        return -ENOMEM;
    bench->peer_of = calloc(core->capacity + 1ul, sizeof *bench->peer_of);
    if (!bench->peer_of) {
        free(bench);
        return -ENOMEM;
    }
    core->transport = &bench_transport;
    core->transport_private = bench;
    return 0;
}

void bench_detach(struct core *core) {
    struct bench *bench = bench_of(core);
    for (int64_t i = 0; i < bench->count; i++) {
        segments_drop(&bench->peers[i]);
        free(bench->peers[i].received);
    }
    free(bench->peers);
    free(bench->peer_of);
    free(bench);
    core->transport_private = NULL;
}

static struct peer *peer_add(struct bench *bench) {
    if (bench->count == bench->room) {
        int64_t room = bench->room ? bench->room * 2 : 16;
        struct peer *more = realloc(bench->peers, (size_t)room * sizeof *more);
        if (!more)
            return NULL;
        bench->peers = more;
        bench->room = room;
    }
    struct peer *peer = &bench->peers[bench->count++];
    memset(peer, 0, sizeof *peer);
    peer->window = -1;
    peer->agree = 1;
    peer->reason = -1;
    return peer;
}

int64_t bench_connect(struct core *core, uint32_t listener, uint32_t remote_address, uint16_t remote_port) {
    if (listener >= core->listener_count)
        return -ENOENT;
    struct bench *bench = bench_of(core);
    struct peer *peer = peer_add(bench);
    uint32_t index = peer ? record_take(core) : 0;
    if (!index) {
        bench->count -= peer != NULL;
        return -ENOBUFS;
    }
    struct record *record = &core->records[index];
    record->flow.local_address = core->config.local_address;
    record->flow.local_port = core->listeners[listener].port;
    record->flow.remote_address = remote_address;
    record->flow.remote_port = remote_port;
    record->listener = (uint8_t)listener;
    record->last_activity = core->tick;
    record->state = STATE_ESTABLISHED;
    peer->index = index;
    bench->peer_of[index] = bench->count - 1;
    actor_open(core, index);
    return bench->count - 1;
}

int bench_send(struct core *core, int64_t number, const uint8_t *data, int64_t length) {
    struct peer *peer = peer_at(core, number);
    if (!peer || !peer->index || peer->ending || peer->resetting)
        return -ENOTCONN;
    if (length <= 0)
        return length ? -EINVAL : 0;
    if (length > INT32_MAX)
        return -EMSGSIZE;
    struct segment *segment = malloc(sizeof *segment + (size_t)length);
    if (!segment)
        return -ENOMEM;
    *segment = (struct segment){.length = (uint32_t)length};
    memcpy(segment->data, data, (size_t)length);
    if (peer->last)
        peer->last->next = segment;
    else
        peer->first = segment;
    peer->last = segment;
    return 0;
}

int bench_end(struct core *core, int64_t number) {
    struct peer *peer = peer_at(core, number);
    if (!peer || !peer->index)
        return -ENOTCONN;
    peer->ending = 1;
    return 0;
}

int bench_reset(struct core *core, int64_t number) {
    struct peer *peer = peer_at(core, number);
    if (!peer || !peer->index)
        return -ENOTCONN;
    peer->resetting = 1;
    return 0;
}

int bench_window(struct core *core, int64_t number, int64_t bytes) {
    struct peer *peer = peer_at(core, number);
    if (!peer)
        return -ENOENT;
    peer->window = bytes;
    if (peer->index)
        actor_pend(core, peer->index);
    return 0;
}

int bench_agree(struct core *core, int64_t number, int agree) {
    struct peer *peer = peer_at(core, number);
    if (!peer)
        return -ENOENT;
    peer->agree = agree != 0;
    return 0;
}

int64_t bench_receive(struct core *core, int64_t number, uint8_t *into, int64_t most) {
    struct peer *peer = peer_at(core, number);
    if (!peer)
        return -ENOENT;
    int64_t length = peer->received_length < most ? peer->received_length : most;
    if (length <= 0)
        return 0;
    memcpy(into, peer->received, (size_t)length);
    memmove(peer->received, peer->received + length, (size_t)(peer->received_length - length));
    peer->received_length -= length;
    return length;
}

int64_t bench_received(const struct core *core, int64_t number) {
    const struct peer *peer = peer_at(core, number);
    return peer ? peer->received_length : -ENOENT;
}

int64_t bench_unsent(const struct core *core, int64_t number) {
    const struct peer *peer = peer_at(core, number);
    int64_t length = 0;
    for (const struct segment *segment = peer ? peer->first : NULL; segment; segment = segment->next)
        length += segment->length;
    return peer ? length : -ENOENT;
}

int bench_state_of(const struct core *core, int64_t number) {
    const struct peer *peer = peer_at(core, number);
    return peer ? peer->state : -ENOENT;
}

uint32_t bench_record(const struct core *core, int64_t number) {
    const struct peer *peer = peer_at(core, number);
    return peer ? peer->index : 0;
}

int bench_reason(const struct core *core, int64_t number) {
    const struct peer *peer = peer_at(core, number);
    return peer ? peer->reason : -ENOENT;
}
