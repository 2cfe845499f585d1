/* The transport `tcp`: attaches to a core and its NIC, brings in bursts, drains. Owned by the core. */
#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include "actor.h"
#include "routes.h"
#include "tcp_inside.h"
#include "time_wait.h"
#include "transport.h"

enum { DRAIN_SLICE = 1024, TIME_WAIT_BUDGET = 32 };

static uint32_t poll(struct core *core) {
    routes_look(core);
    neighbour_turn(core);
    return input_poll(core) + time_wait_expire(core, TIME_WAIT_BUDGET);
}

static void idle(struct core *core, int64_t nanoseconds) {
    if (!core->config.spin) {
        core->nic->driver->idle(core->nic, nanoseconds, core->bell);
    }
}

static void drain_one(struct core *core, uint32_t index, int past_deadline) {
    struct record *record = &core->records[index];
    if (record->state == STATE_CLOSED || record->flags & FLAG_ABORTING) {
        return;
    }
    if (past_deadline || record->state == STATE_SYN_RECEIVED || record->state == STATE_SYN_SENT) {
        record->close_reason = CLOSE_SHUTDOWN + 1;
        record->flags |= FLAG_ABORTING;
        actor_pend(core, index);
    } else if (!(record->flags & FLAG_CLOSING)) {
        record->flags |= FLAG_CLOSING;
        actor_pend(core, index);
    }
}

/* A slice a call, so that a turn stays short whatever the number of connections. */
static uint32_t drain(struct core *core, int past_deadline) {
    struct tcp *tcp = tcp_of(core);
    for (uint32_t i = 0; i < core->listener_count; i++) {
        core->listeners[i].open = 0;
    }
    uint32_t end = core->state->record_fresh;
    for (uint32_t slice = 0; slice < DRAIN_SLICE && slice < end; slice++) {
        tcp->drain_cursor = tcp->drain_cursor + 1 < end ? tcp->drain_cursor + 1 : 1;
        if (tcp->drain_cursor < end) {
            drain_one(core, tcp->drain_cursor, past_deadline);
        }
    }
    return core->state->live;
}

static int64_t connect_to(struct core *core, uint32_t listener, uint32_t address, uint16_t port,
                          const uint8_t *next_hop) {
    uint32_t index = tcp_connect(core, listener, address, port, 0, next_hop);
    return index ? (int64_t)index : -EADDRNOTAVAIL;
}

static const struct transport tcp_transport = {
    .name = "tcp",
    .output = tcp_output,
    .flush = frames_flush,
    .timer = tcp_timer,
    .poll = poll,
    .idle = idle,
    .adopt = tcp_adopt,
    .connect = connect_to,
    .drain = drain,
};

uint64_t tcp_list_bytes(void) {
    return PATHS * sizeof(struct path);
}

static void release(struct tcp *tcp) {
    free(tcp->paths);
    free(tcp);
}

int tcp_attach(struct core *core, struct nic *nic) {
    struct tcp *tcp = calloc(1, sizeof *tcp);
    if (!tcp) {
        return -ENOMEM;
    }
    nic->driver->limits(nic, &tcp->limits);
    if (core->config.mtu < 576 || core->config.mtu + ETHERNET_HEADER > tcp->limits.frame_bytes) {
        free(tcp);
        return -EMSGSIZE;
    }
    tcp->paths = malloc(PATHS * sizeof *tcp->paths);
    if (!tcp->paths) {
        release(tcp);
        return -ENOMEM;
    }
    memset(tcp->paths, 0, PATHS * sizeof *tcp->paths); /* pages exist once written */
    core->nic = nic;
    core->transport = &tcp_transport;
    core->transport_private = tcp;
    neighbour_recover(core);
    return 0;
}

void tcp_detach(struct core *core) {
    release(tcp_of(core));
    core->transport_private = NULL;
    core->transport = NULL;
    core->nic = NULL;
}
