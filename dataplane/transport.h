/* What carries a connection's bytes: TCP over frames, Linux's sockets, or a test bench.
 * The actor layer calls these; the transport calls actor_*. Both run on the owning core, never nested. */
#pragma once

#include <stdint.h>

struct core;

struct transport {
    const char *name;
    /* End of turn, for a record on the pending list: send what is queued, honour FLAG_CLOSING and FLAG_ABORTING, update
     * the window. */
    void (*output)(struct core *core, uint32_t index);
    /* The turn's last output is in: hand what was gathered to the driver in one go. NULL: nothing is gathered. */
    void (*flush)(struct core *core);
    /* record.transport_deadline passed. */
    void (*timer)(struct core *core, uint32_t index);
    /* One look for input, bounded; returns how many events or frames it handled. */
    uint32_t (*poll)(struct core *core);
    /* Nothing to do: sleep up to this long, less if core->bell becomes readable, or spin. */
    void (*idle)(struct core *core, int64_t nanoseconds);
    /* A new worker took over the arena: make every record and queue whole again, or close what can't be. */
    int (*adopt)(struct core *core);
    /* Opens one to address and port (network byte order) for that listener: its record's index, or -errno. */
    int64_t (*connect)(struct core *core, uint32_t listener, uint32_t address, uint16_t port, const uint8_t *next_hop);
    /* Stop taking new connections; close or, once past the deadline, abort the live ones. Returns how many are left. */
    uint32_t (*drain)(struct core *core, int past_deadline);
};
